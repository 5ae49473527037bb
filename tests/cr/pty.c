// SPDX-License-Identifier: MIT
/* pty.c - a pseudo terminal, both ends ours: settings, size, controlling child. */
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "../case.h"

static int master, slave, number;
static pid_t child;

static volatile int winch;

static void on_winch(int sig)
{
	(void)sig;
	winch = 1;
}

static void child_body(const char *name)
{
	char line[32] = "";
	int tty;

	signal(SIGWINCH, on_winch);
	close(master);
	close(slave);
	CHECK(setsid() == getpid());
	tty = open(name, O_RDWR);			/* becomes the controlling tty */
	CHECK(tty >= 0 && tcgetsid(tty) == getpid());
	case_child_wait();
	CHECK(tcgetsid(tty) == getpid() && tcgetpgrp(tty) == getpgrp());
	for (int i = 0; i < 500 && !winch; i++)
		case_sleep_ms(10);
	CHECK(winch);					/* it is our terminal still */
	CHECK(read(tty, line, 31) == 6 && !strcmp(line, "hello\n"));
	CHECK(open("/dev/tty", O_RDWR) >= 0);
	exit(0);
}

static void before(void)
{
	struct winsize size = { .ws_row = 33, .ws_col = 77 };
	struct termios t;
	char name[64];

	CHECK(openpty(&master, &slave, name, NULL, &size) == 0);
	CHECK(ioctl(master, TIOCGPTN, &number) == 0);
	CHECK(tcgetattr(slave, &t) == 0);
	t.c_lflag &= ~(ECHO | ISIG);
	t.c_cc[VKILL] = 'k';
	CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
	child = fork();
	if (child == 0)
		child_body(name);
	case_children_wait(1);
}

static void after(void)
{
	struct winsize size;
	struct termios t;
	int n = -1;

	CHECK(ioctl(master, TIOCGPTN, &n) == 0 && n == number);
	CHECK(ioctl(slave, TIOCGWINSZ, &size) == 0 && size.ws_row == 33 && size.ws_col == 77);
	CHECK(tcgetattr(slave, &t) == 0);
	CHECK(!(t.c_lflag & ECHO) && !(t.c_lflag & ISIG) && t.c_cc[VKILL] == 'k');
	CHECK(write(master, "hello\n", 6) == 6);
	size.ws_col = 78;
	CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "a pty keeps its number, settings, size and its session",
	.before = before,
	.after = after,
};
