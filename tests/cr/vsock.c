/* SPDX-License-Identifier: MIT */
/* A socket of a virtual machine is refused by name. */
#include <sys/socket.h>

#include "../case.h"

static void before(void)
{
	if (socket(AF_VSOCK, SOCK_STREAM, 0) < 0)
		case_skip("this kernel has no AF_VSOCK");
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "an AF_VSOCK socket is refused",
	.before = before,
	.after = after,
	.later = "AF_VSOCK",
	.criu_fails = "it refuses too",
};
