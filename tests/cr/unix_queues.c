// SPDX-License-Identifier: MIT
/* unix_queues.c - sockets with messages in them, as CRIU can do them too. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

static int stream[2], seq[2], server, client, listener, connected, accepted;

static socklen_t named(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(a->sun_path, sizeof(a->sun_path), "%s", case_path(name));
}

static void before(void)
{
	struct sockaddr_un a;
	socklen_t len;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 && write(stream[0], "abc", 3) == 3);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, seq) == 0);
	CHECK(write(seq[0], "1", 1) == 1 && write(seq[0], "22", 2) == 2);
	server = socket(AF_UNIX, SOCK_DGRAM, 0);
	client = socket(AF_UNIX, SOCK_DGRAM, 0);
	len = named(&a, "server");
	CHECK(bind(server, (struct sockaddr *)&a, len) == 0);
	CHECK(connect(client, (struct sockaddr *)&a, len) == 0);
	CHECK(write(client, "x", 1) == 1 && write(client, "yy", 2) == 2);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	connected = socket(AF_UNIX, SOCK_STREAM, 0);
	len = named(&a, "listener");
	CHECK(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 5) == 0);
	CHECK(connect(connected, (struct sockaddr *)&a, len) == 0);
	accepted = accept(listener, NULL, NULL);
	CHECK(accepted >= 0 && write(connected, "to", 2) == 2 && write(accepted, "fro", 3) == 3);
}

static void after(void)
{
	char in[16];
	struct sockaddr_un a;
	socklen_t len = named(&a, "listener");
	int one;

	CHECK(read(stream[1], in, sizeof(in)) == 3 && memcmp(in, "abc", 3) == 0);
	CHECK(read(seq[1], in, sizeof(in)) == 1 && read(seq[1], in, sizeof(in)) == 2);
	CHECK(read(server, in, sizeof(in)) == 1 && read(server, in, sizeof(in)) == 2);
	CHECK(write(client, "zzz", 3) == 3 && read(server, in, sizeof(in)) == 3);
	CHECK(read(accepted, in, sizeof(in)) == 2 && read(connected, in, sizeof(in)) == 3);
	CHECK(write(accepted, "more", 4) == 4 && read(connected, in, sizeof(in)) == 4);
	one = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(one, (struct sockaddr *)&a, len) == 0 && accept(listener, NULL, NULL) >= 0);
}

const struct test_case test_case = {
	.proves = "messages wait in unix sockets, which stay connected and listening",
	.before = before,
	.after = after,
};
