/* SPDX-License-Identifier: MIT */
/* A socket of XDP is refused by name. */
#include <sys/socket.h>

#include "../case.h"

#define XDP 44				/* AF_XDP */

static void before(void)
{
	if (socket(XDP, SOCK_RAW, 0) < 0)
		case_skip("no AF_XDP sockets here");
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "an AF_XDP socket is refused",
	.before = before,
	.after = after,
	.later = "AF_XDP",
	.criu_fails = "it refuses too",
};
