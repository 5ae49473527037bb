/* SPDX-License-Identifier: MIT */
/* --tcp-close: a connection comes back closed, the listener listens. */
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int listener, client, server;

static void before(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	CHECK(connect(client, (struct sockaddr *)&a, sizeof(a)) == 0);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0 && send(client, "lost", 4, 0) == 4);
}

static void check_closed(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	CHECK(poll(&p, 1, 1000) == 1 && (p.revents & POLLHUP));
	CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0);
	CHECK(send(fd, "x", 1, MSG_NOSIGNAL) < 0);
}

static void after(void)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	check_closed(client);
	check_closed(server);
	CHECK(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	close(fd);
	close(accept(listener, NULL, NULL));
}

const struct test_case test_case = {
	.proves = "with --tcp-close connections come back closed",
	.options = "--tcp-close",
	.before = before,
	.after = after,
};
