// SPDX-License-Identifier: MIT
/*
 * tty_lone.c - /dev/tty of a session that is no more: its terminal hung up, or given back; the
 * slave open besides, or not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../case.h"

enum { HUNG, BACK, ALONE, CASES };

static int master[CASES], slave[CASES], tty[CASES];

/* In a session of its own, whose terminal the slave becomes. */
static void leader(int i, int number)
{
	int fd;

	signal(SIGHUP, SIG_IGN);
	if (setsid() < 0 || ioctl(slave[i], TIOCSCTTY, 0) < 0)
		_exit(1);
	fd = open("/dev/tty", O_RDWR);
	if (dup2(fd, number) != number)
		_exit(1);
	raise(SIGSTOP);
	if (i != HUNG && ioctl(fd, TIOCNOTTY) < 0)
		_exit(1);
	_exit(0);
}

static void open_tty(int i)
{
	const int number = 60 + i;
	int pidfd, status = 0;
	pid_t pid = fork();

	if (pid == 0)
		leader(i, number);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	tty[i] = syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (tty[i] < 0)
		case_skip("may not look into a child");
	CHECK(close(pidfd) == 0 && kill(pid, SIGCONT) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
}

static void before(void)
{
	struct termios t;
	int i;

	for (i = 0; i < CASES; i++) {
		CHECK(openpty(&master[i], &slave[i], NULL, NULL, NULL) == 0);
		CHECK(tcgetattr(slave[i], &t) == 0);
		cfmakeraw(&t);
		CHECK(tcsetattr(slave[i], TCSANOW, &t) == 0);
		open_tty(i);
	}
	CHECK(close(master[HUNG]) == 0 && close(slave[ALONE]) == 0);
	CHECK(fcntl(tty[BACK], F_SETFL, O_NONBLOCK) == 0);
}

static bool is_dev_tty(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_rdev == makedev(5, 0);
}

static bool leads(int from, int to, const char *text)
{
	char buf[16] = "";

	return write(from, text, strlen(text)) == (ssize_t)strlen(text) &&
	       read(to, buf, sizeof(buf)) == (ssize_t)strlen(text) && strcmp(buf, text) == 0;
}

static void after(void)
{
	char c;
	int i;

	for (i = 0; i < CASES; i++)
		CHECK(is_dev_tty(tty[i]));
	CHECK(write(tty[HUNG], "x", 1) < 0 && errno == EIO && read(tty[HUNG], &c, 1) == 0);
	CHECK(write(slave[HUNG], "x", 1) < 0 && errno == EIO);
	for (i = BACK; i < CASES; i++) {
		CHECK(leads(tty[i], master[i], "out"));
		CHECK(leads(master[i], tty[i], "in"));
	}
	CHECK(leads(slave[BACK], master[BACK], "slave"));
	CHECK(fcntl(tty[BACK], F_GETFL) & O_NONBLOCK && !(fcntl(tty[ALONE], F_GETFL) & O_NONBLOCK));
	CHECK(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO);	/* none of them became ours */
}

const struct test_case test_case = {
	.proves = "/dev/tty stays open when the session that had it is no more",
	.criu_fails = "it opens /dev/tty in its session only",
	.before = before,
	.after = after,
};
