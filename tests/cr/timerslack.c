// SPDX-License-Identifier: MIT
/* timerslack.c - PR_SET_TIMERSLACK of the leader. */
#include <sys/prctl.h>

#include "../case.h"

static void before(void)
{
	CHECK(prctl(PR_SET_TIMERSLACK, 123456) == 0);
}

static void after(void)
{
	CHECK(prctl(PR_GET_TIMERSLACK) == 123456);
}

const struct test_case test_case = {
	.proves = "the timer slack is kept",
	.criu_fails = "CRIU 4.2 images have no field for the timer slack",
	.before = before,
	.after = after,
};
