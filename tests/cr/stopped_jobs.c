// SPDX-License-Identifier: MIT
/*
 * stopped_jobs.c - background jobs of a session that their terminal has stopped: one that read
 * (SIGTTIN) and one that wrote (SIGTTOU). Brought to the foreground after the thaw, they go on.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../case.h"

static int master;
static pid_t shell;
static atomic_int *ready;

static void reader(void)
{
	char line[16] = "";

	CHECK(read(0, line, sizeof(line)) == 6 && !memcmp(line, "hello\n", 6));
}

static void writer(void)
{
	CHECK(write(1, "written", 7) == 7);
}

/* A job in the background, which its terminal stops with signo. */
static pid_t start(void (*job)(void), int signo)
{
	siginfo_t info = { 0 };
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0);
		job();
		_exit(0);
	}
	setpgid(pid, pid);
	CHECK(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT) == 0 && info.si_status == signo);
	return pid;
}

static void resume(pid_t pid, int signo)
{
	siginfo_t info = { 0 };

	CHECK(waitid(P_PID, pid, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid == pid);
	CHECK(info.si_code == CLD_STOPPED && info.si_status == signo);
	CHECK(tcsetpgrp(0, pid) == 0);
	CHECK(kill(-pid, SIGCONT) == 0);
	CHECK(waitid(P_PID, pid, &info, WEXITED) == 0 && info.si_code == CLD_EXITED &&
	      info.si_status == 0);
	CHECK(tcsetpgrp(0, getpgrp()) == 0);
}

static void be_shell(const char *name)
{
	pid_t jobs[2];
	struct termios t;
	int fd;

	CHECK(setsid() == getpid());
	signal(SIGTTOU, SIG_IGN);
	fd = open(name, O_RDWR);
	CHECK(fd >= 0 && ioctl(fd, TIOCSCTTY, 0) == 0);
	CHECK(tcgetattr(fd, &t) == 0);
	t.c_lflag |= TOSTOP;
	t.c_lflag &= ~ECHO;
	t.c_oflag = 0;
	CHECK(tcsetattr(fd, TCSANOW, &t) == 0);
	dup2(fd, 0);
	dup2(fd, 1);
	close(fd);
	jobs[0] = start(reader, SIGTTIN);
	signal(SIGTTOU, SIG_DFL);
	jobs[1] = start(writer, SIGTTOU);
	signal(SIGTTOU, SIG_IGN);
	atomic_store(ready, 1);
	case_child_wait();
	resume(jobs[0], SIGTTIN);
	resume(jobs[1], SIGTTOU);
	_exit(0);
}

static void before(void)
{
	ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(ready != MAP_FAILED);
	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	shell = fork();
	if (shell == 0)
		be_shell(ptsname(master));
	while (!atomic_load(ready))
		case_sleep_ms(1);
}

static void after(void)
{
	char text[8] = "";

	CHECK(write(master, "hello\n", 6) == 6);
	case_release();
	case_child_ok(shell);
	CHECK(read(master, text, sizeof(text)) == 7 && !memcmp(text, "written", 7));
}

const struct test_case test_case = {
	.proves = "jobs that a terminal has stopped stay so and go on in the foreground",
	.criu_fails = "CRIU 4.2 does not know tasks stopped by SIGTTIN or SIGTTOU",
	.before = before,
	.after = after,
};
