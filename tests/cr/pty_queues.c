// SPDX-License-Identifier: MIT
/*
 * pty_queues.c - what is under way inside ptys: unread lines, an unfinished one, end-of-file marks,
 * packet mode, a foreground group, /dev/tty, hung up slaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "../case.h"

static int lines[2], mark[2], packet[2], hung[2], control[2];	/* master, slave */
static int tty, silent;
static pid_t leader;

/* One read gives exactly this. */
static bool gives(int fd, const char *text)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[1024];
	ssize_t n = poll(&p, 1, 2000) == 1 ? read(fd, buf, sizeof(buf)) : -1;

	return n == (ssize_t)strlen(text) && memcmp(buf, text, n) == 0;
}

static bool is_hung(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static bool put(int fd, const char *text)
{
	return write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* A session of its own, with another group in the foreground. */
static void leader_body(void)
{
	pid_t front;

	signal(SIGTTOU, SIG_IGN);
	CHECK(setsid() == getpid() && ioctl(control[1], TIOCSCTTY, 0) == 0);
	tty = open("/dev/tty", O_RDWR);
	CHECK(tty >= 0);
	front = fork();
	if (front == 0) {
		setpgid(0, 0);
		case_child_wait();
		exit(0);
	}
	setpgid(front, front);
	CHECK(tcsetpgrp(tty, front) == 0);
	case_child_wait();
	CHECK(tcgetsid(tty) == getpid() && tcgetpgrp(tty) == front);
	CHECK(tcsetpgrp(tty, getpgrp()) == 0 && put(tty, "back"));
	case_child_ok(front);
	exit(0);
}

static void before(void)
{
	const int on = 1;
	struct termios t;

	CHECK(openpty(&lines[0], &lines[1], NULL, NULL, NULL) == 0);
	CHECK(put(lines[0], "one\ntwo\nend\004\004begun"));

	CHECK(openpty(&mark[0], &mark[1], NULL, NULL, NULL) == 0);
	CHECK(put(mark[0], "\004"));

	CHECK(openpty(&packet[0], &packet[1], NULL, NULL, NULL) == 0);
	CHECK(tcgetattr(packet[1], &t) == 0);
	cfmakeraw(&t);
	CHECK(tcsetattr(packet[1], TCSANOW, &t) == 0);
	CHECK(put(packet[0], "\003\004in\n") && put(packet[1], "out\n"));
	CHECK(ioctl(packet[0], TIOCPKT, &on) == 0 && ioctl(packet[1], TIOCEXCL) == 0);

	CHECK(openpty(&hung[0], &hung[1], NULL, NULL, NULL) == 0);
	close(hung[0]);
	CHECK(is_hung(hung[1]));

	/* Its slave was never open. */
	silent = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(silent >= 0 && !is_hung(silent));

	CHECK(openpty(&control[0], &control[1], NULL, NULL, NULL) == 0);
	leader = fork();
	if (leader == 0)
		leader_body();
	close(control[1]);
	case_children_wait(2);
}

static void after(void)
{
	int value = 0;

	CHECK(gives(lines[0], "one\r\ntwo\r\nendbegun"));
	CHECK(gives(lines[1], "one\n") && gives(lines[1], "two\n") && gives(lines[1], "end") &&
	      gives(lines[1], ""));
	CHECK(put(lines[0], "\177N\n") && gives(lines[1], "beguN\n"));

	CHECK(gives(mark[1], "") && put(mark[1], "ok") && gives(mark[0], "ok"));

	CHECK(ioctl(packet[0], TIOCGPKT, &value) == 0 && value == 1);
	CHECK(ioctl(packet[1], TIOCGEXCL, &value) == 0 && value == 1);
	CHECK(read(packet[0], (char[8]){ 0 }, 8) == 5);
	CHECK(gives(packet[1], "\003\004in\n"));

	CHECK(is_hung(hung[1]) && write(hung[1], "x", 1) < 0 && errno == EIO);
	CHECK(!is_hung(silent));
	CHECK(ioctl(silent, TIOCGPTLCK, &value) == 0 && value == 1);

	CHECK(ioctl(control[0], TIOCGSID, &value) == 0 && value == leader);
	case_release();
	CHECK(gives(control[0], "back"));
	case_child_ok(leader);
}

const struct test_case test_case = {
	.proves = "unread bytes, modes and the session of a pty come through",
	.criu_fails = "it echoes unread bytes once more and loses unfinished lines, exclusive mode",
	.before = before,
	.after = after,
};
