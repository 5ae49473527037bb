// SPDX-License-Identifier: MIT
/* pidfd.c - descriptors of the process itself, of a child, and of one that has ended. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

static int self, of_child, ended, ended_too;
static pid_t child;

static int open_pidfd(pid_t pid, int flags)
{
	int fd = syscall(SYS_pidfd_open, pid, flags);

	CHECK(fd >= 0);
	return fd;
}

static int send_to(int fd, int signo)
{
	return syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
}

static void before(void)
{
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	ended = open_pidfd(gone, 0);
	ended_too = open_pidfd(gone, O_NONBLOCK);
	CHECK(waitpid(gone, NULL, 0) == gone);
	child = fork();
	if (child == 0) {
		pause();
		_exit(1);
	}
	of_child = open_pidfd(child, 0);
	self = open_pidfd(getpid(), O_NONBLOCK);
}

static void after(void)
{
	struct pollfd p = { of_child, POLLIN, 0 };
	siginfo_t info = { 0 };

	CHECK(send_to(ended, 0) < 0 && errno == ESRCH);
	CHECK(send_to(ended_too, 0) < 0 && errno == ESRCH);
	CHECK(fcntl(ended_too, F_GETFL) & O_NONBLOCK);
	CHECK(send_to(self, 0) == 0);
	CHECK(poll(&p, 1, 0) == 0);
	CHECK(send_to(of_child, SIGKILL) == 0 && poll(&p, 1, 5000) == 1);
	CHECK(waitid(P_PIDFD, of_child, &info, WEXITED) == 0 && info.si_pid == child);
}

const struct test_case test_case = {
	.proves = "pidfds lead to their processes, or to none",
	.before = before,
	.after = after,
};
