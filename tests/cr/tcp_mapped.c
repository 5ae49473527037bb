/* SPDX-License-Identifier: MIT */
/* A TCP socket that is mapped, to receive without a copy, is refused. */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../case.h"

static void before(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	if (mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		case_skip("TCP sockets cannot be mapped here");
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "a mapped TCP socket is refused",
	.before = before,
	.after = after,
	.later = "it is mapped (TCP_ZEROCOPY_RECEIVE)",
	.criu_fails = "it refuses too",
};
