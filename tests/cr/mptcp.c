/* SPDX-License-Identifier: MIT */
/* MPTCP is refused by name. */
#include <sys/socket.h>

#include "../case.h"

static void before(void)
{
	if (socket(AF_INET, SOCK_STREAM, 262) < 0)
		case_skip("this kernel has no MPTCP");
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "an MPTCP socket is refused",
	.before = before,
	.after = after,
	.later = "multipath TCP",
	.criu_fails = "it refuses too",
};
