// SPDX-License-Identifier: MIT
/* pidfd_thread.c - descriptors of threads (PIDFD_THREAD, Linux 6.9), also in another task. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

static int of_thread, of_self, of_gone;
static volatile int stop, tid;
static pthread_t thread;
static pid_t child;

static int open_pidfd(pid_t pid, int flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

static void *run(void *arg)
{
	tid = gettid();
	while (!stop)
		case_sleep_ms(10);
	return arg;
}

static bool ended(int fd, int wait_ms)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, wait_ms) == 1;
}

static void child_body(void)
{
	CHECK(!ended(of_thread, 0));
	case_child_wait();
	CHECK(fcntl(of_thread, F_GETFD) == FD_CLOEXEC && ended(of_thread, 5000));
	exit(0);
}

static void *end_at_once(void *arg)
{
	*(int *)arg = open_pidfd(gettid(), PIDFD_THREAD);
	return NULL;
}

static void before(void)
{
	of_self = open_pidfd(getpid(), PIDFD_THREAD | O_NONBLOCK);
	if (of_self < 0 && errno == EINVAL)
		case_skip("no PIDFD_THREAD");
	CHECK(of_self >= 0 && pthread_create(&thread, NULL, end_at_once, &of_gone) == 0);
	CHECK(pthread_join(thread, NULL) == 0 && of_gone >= 0 && ended(of_gone, 5000));
	CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
	while (!tid)
		case_sleep_ms(1);
	of_thread = open_pidfd(tid, PIDFD_THREAD);
	CHECK(of_thread >= 0);
	child = fork();
	if (child == 0)
		child_body();
}

static void after(void)
{
	CHECK(fcntl(of_self, F_GETFL) & O_NONBLOCK && !ended(of_self, 0) && !ended(of_thread, 0));
	CHECK(syscall(SYS_pidfd_send_signal, of_thread, 0, NULL, 0) == 0);
	CHECK(ended(of_gone, 0));
	CHECK(syscall(SYS_pidfd_send_signal, of_gone, 0, NULL, 0) < 0 && errno == ESRCH);
	stop = 1;
	CHECK(pthread_join(thread, NULL) == 0 && ended(of_thread, 5000));
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "pidfds of threads lead to their threads",
	.criu_fails = "it opens them as those of processes, before there are threads",
	.before = before,
	.after = after,
};
