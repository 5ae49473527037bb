// SPDX-License-Identifier: MIT
/* socket_pair.c - two connected sockets with a message under way. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int ends[2];

static void before(void)
{
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
	CHECK(write(ends[0], "message", 7) == 7);
}

static void after(void)
{
	char text[16];

	CHECK(read(ends[1], text, sizeof(text)) == 7 && memcmp(text, "message", 7) == 0);
	CHECK(write(ends[1], "answer", 6) == 6 && read(ends[0], text, sizeof(text)) == 6);
}

const struct test_case test_case = {
	.proves = "a pair of sockets stays connected and keeps its message",
	.before = before,
	.after = after,
};
