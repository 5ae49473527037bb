// SPDX-License-Identifier: MIT
/*
 * tty_job_ended.c - the foreground job of a terminal has ended, and its shell has not taken the
 * terminal back yet.
 */
#include <errno.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../case.h"

static int master, slave;
static pid_t shell;

/* Bring a child that leads a group of its own to the foreground; it ends there. */
static void run_job(void)
{
	int hold[2];
	pid_t job;
	char c;

	CHECK(pipe(hold) == 0);
	job = fork();
	if (job == 0) {
		close(hold[1]);
		_exit(read(hold[0], &c, 1));
	}
	CHECK(setpgid(job, job) == 0 && tcsetpgrp(slave, job) == 0);
	CHECK(close(hold[0]) == 0 && close(hold[1]) == 0);
	CHECK(waitpid(job, NULL, 0) == job);
	CHECK(kill(-job, 0) < 0 && errno == ESRCH);
}

static void shell_body(void)
{
	CHECK(close(master) == 0);
	CHECK(setsid() == getpid() && ioctl(slave, TIOCSCTTY, 0) == 0);
	signal(SIGTTOU, SIG_IGN);
	run_job();
	case_child_wait();
	CHECK(tcgetsid(slave) == getpid());
	CHECK(tcsetpgrp(slave, getpid()) == 0 && tcgetpgrp(slave) == getpid());
	_exit(0);
}

static void before(void)
{
	CHECK(openpty(&master, &slave, NULL, NULL, NULL) == 0);
	shell = fork();
	if (shell == 0)
		shell_body();
	CHECK(close(slave) == 0);
	case_children_wait(1);
}

static void after(void)
{
	int session = -1;

	CHECK(ioctl(master, TIOCGSID, &session) == 0 && session == shell);
	case_release();
	case_child_ok(shell);
}

const struct test_case test_case = {
	.proves = "a terminal whose foreground group has no task any more is its session's still",
	.before = before,
	.after = after,
};
