/* SPDX-License-Identifier: MIT */
/* --tcp-map: listeners and connections come back with another local address and go on. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "../case.h"

static int listener, client, server;

static struct in_addr own(int fd)
{
	struct sockaddr_in a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return a.sin_addr;
}

static void before(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("127.0.0.1") };
	socklen_t len = sizeof(a);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	CHECK(connect(client, (struct sockaddr *)&a, sizeof(a)) == 0);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0 && send(client, "one", 3, 0) == 3);
}

static void after(void)
{
	char buf[8];

	CHECK(own(listener).s_addr == inet_addr("127.0.0.9"));
	CHECK(own(client).s_addr == inet_addr("127.0.0.9"));
	CHECK(own(server).s_addr == inet_addr("127.0.0.9"));
	CHECK(recv(server, buf, sizeof(buf), 0) == 3 && memcmp(buf, "one", 3) == 0);
	CHECK(send(server, "three", 5, 0) == 5 && recv(client, buf, sizeof(buf), 0) == 5);
}

const struct test_case test_case = {
	.proves = "with --tcp-map TCP sockets get another address",
	.options = "--tcp-established --tcp-map 127.0.0.1=127.0.0.9",
	.before = before,
	.after = after,
	.criu_fails = "it has no such option",
};
