/* SPDX-License-Identifier: MIT */
/* Without --tcp-established a connection is named, and the option. */
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "../case.h"

static void before(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	CHECK(connect(client, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(accept(listener, NULL, NULL) >= 0);
}

static void after(void)
{
}

const struct test_case test_case = {
	.proves = "a connection is not dumped unless asked for",
	.before = before,
	.after = after,
	.later = "give --tcp-established",
	.criu_fails = "it refuses too",
};
