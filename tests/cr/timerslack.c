// SPDX-License-Identifier: MIT
/* timerslack.c - PR_SET_TIMERSLACK of the leader and of another thread. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "../case.h"

static pthread_t thread;
static atomic_int look;

static void *body(void *arg)
{
	CHECK(prctl(PR_SET_TIMERSLACK, 70000) == 0);
	atomic_store(&look, 1);
	while (atomic_load(&look) != 2)
		case_sleep_ms(10);
	CHECK(prctl(PR_GET_TIMERSLACK) == 70000);
	return arg;
}

static void before(void)
{
	CHECK(prctl(PR_SET_TIMERSLACK, 123456) == 0);
	CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
	while (!atomic_load(&look))
		case_sleep_ms(1);
}

static void after(void)
{
	CHECK(prctl(PR_GET_TIMERSLACK) == 123456);
	atomic_store(&look, 2);
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "each thread keeps its timer slack",
	.criu_fails = "CRIU 4.2 images have no field for the timer slack",
	.before = before,
	.after = after,
};
