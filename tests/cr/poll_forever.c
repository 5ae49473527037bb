// SPDX-License-Identifier: MIT
/*
 * poll_forever.c - a poll without a timeout that was asleep at the dump.
 *
 * The kernel would continue it through a restart block, which a thawed task
 * does not have; but made again with its own arguments the call is the same.
 * Programs such as script(1) give up on EINTR here.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static int p[2];
static pthread_t thread;
static pid_t tid;

static void *body(void *arg)
{
	struct pollfd f = { .fd = p[0], .events = POLLIN };

	(void)arg;
	__atomic_store_n(&tid, gettid(), __ATOMIC_RELEASE);
	CHECK(poll(&f, 1, -1) == 1 && f.revents == POLLIN);
	return NULL;
}

static void before(void)
{
	CHECK(pipe(p) == 0);
	CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
	case_await_call(&tid, SYS_poll);
}

static void after(void)
{
	CHECK(write(p[1], "x", 1) == 1);
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "a poll without timeout is not interrupted",
	.criu_fails = "poll returns EINTR after CRIU 4.2",
	.before = before,
	.after = after,
};
