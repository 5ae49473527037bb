// SPDX-License-Identifier: MIT
/*
 * clocks.c - CLOCK_MONOTONIC and CLOCK_BOOTTIME stand still from the dump to the restore, as CRIU
 * has it: by the vDSO, by system calls, in a child; and an absolute timeout ends when it should.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../case.h"

#define NS 1000000000ll
#define STOOD_STILL (2 * 1000000ll)	/* two cycles take far longer than this */
#define WAIT (2 * NS)

static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME };
static int64_t then[2][2], real_then;
static pid_t child;
static pthread_t thread;
static _Atomic int64_t woken;

static int64_t ns(const struct timespec *t)
{
	return t->tv_sec * NS + t->tv_nsec;
}

static int64_t show(clockid_t clock, int raw)
{
	struct timespec t;

	CHECK((raw ? syscall(SYS_clock_gettime, clock, &t) : clock_gettime(clock, &t)) == 0);
	return ns(&t);
}

static void look(int64_t to[2][2])
{
	int i;

	for (i = 0; i < 4; i++)
		to[i / 2][i % 2] = show(clocks[i / 2], i % 2);
}

static void check_clocks(void)
{
	int64_t now[2][2], real = show(CLOCK_REALTIME, 0) - real_then;
	int i;

	look(now);
	for (i = 0; i < 4; i++) {
		int64_t passed = now[i / 2][i % 2] - then[i / 2][i % 2];

		CHECK(passed > 0);
		CHECK(real - passed > STOOD_STILL);
	}
}

/* An absolute moment of this clock; the thaw lies before it. */
static void *wait_until(void *arg)
{
	int64_t end = then[0][0] + WAIT;
	struct timespec t = { end / NS, end % NS };
	uint32_t word = 0;

	while (syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, ~0u) < 0 &&
	       errno == EINTR)
		;
	CHECK(errno == ETIMEDOUT);
	atomic_store(&woken, show(CLOCK_MONOTONIC, 0));
	return arg;
}

static void before(void)
{
	real_then = show(CLOCK_REALTIME, 0);
	look(then);
	CHECK(pthread_create(&thread, NULL, wait_until, NULL) == 0);
	child = fork();
	if (child == 0) {
		case_child_wait();
		check_clocks();
		exit(0);
	}
}

static void after(void)
{
	check_clocks();
	case_release();
	case_child_ok(child);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(woken >= then[0][0] + WAIT && woken < then[0][0] + WAIT + NS);
}

const struct test_case test_case = {
	.proves = "the monotonic clocks go on from the dump, and what waits for a moment of theirs",
	.before = before,
	.after = after,
};
