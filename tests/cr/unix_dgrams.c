// SPDX-License-Identifier: MIT
/* unix_dgrams.c - datagram sockets: who is connected to whom, and who sent what. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

static int hub, spoke[3], self, left, right, chain[3], forgot, remembers;

static socklen_t name_of(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(a->sun_path, sizeof(a->sun_path), "%s", case_path(name));
}

static int named(const char *name)
{
	struct sockaddr_un a;
	socklen_t len = name_of(&a, name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	CHECK(bind(fd, (struct sockaddr *)&a, len) == 0);
	return fd;
}

static void join(int fd, const char *name)
{
	struct sockaddr_un a;
	socklen_t len = name_of(&a, name);

	CHECK(connect(fd, (struct sockaddr *)&a, len) == 0);
}

static void before(void)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	char name[8];
	int i, gone, pair[2];

	hub = named("hub");
	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "spoke%d", i);
		spoke[i] = i < 2 ? named(name) : socket(AF_UNIX, SOCK_DGRAM, 0);
		join(spoke[i], "hub");
		CHECK(write(spoke[i], "012" + i, 1) == 1);
	}
	gone = named("gone");
	join(gone, "hub");
	CHECK(write(gone, "g", 1) == 1 && close(gone) == 0);
	CHECK(unlink(case_path("gone")) == 0);

	self = named("self");
	join(self, "self");
	CHECK(write(self, "me", 2) == 2);

	left = named("left");
	right = named("right");
	join(left, "right");
	join(right, "left");
	CHECK(write(left, "l", 1) == 1 && write(right, "rr", 2) == 2);

	/* 0 to 1 to 2; once 1 is connected only 2 may send to it. */
	chain[0] = named("chain0");
	chain[1] = named("chain1");
	chain[2] = named("chain2");
	join(chain[0], "chain1");
	CHECK(write(chain[0], "c", 1) == 1);
	join(chain[1], "chain2");
	CHECK(write(chain[1], "dd", 2) == 2);

	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	CHECK(connect(pair[0], &none, sizeof(none)) == 0);
	forgot = pair[0];
	remembers = pair[1];
	CHECK(write(remembers, "still", 5) == 5);
}

static void check_from(int fd, const char *text, const char *name)
{
	struct sockaddr_un a = { 0 };
	socklen_t len = sizeof(a);
	char in[16];

	CHECK(recvfrom(fd, in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&a, &len) ==
	      (ssize_t)strlen(text));
	CHECK(memcmp(in, text, strlen(text)) == 0);
	if (name)
		CHECK(len > 2 && strcmp(a.sun_path, case_path(name)) == 0);
	else
		CHECK(len <= 2);
}

static void after(void)
{
	struct sockaddr_un a;
	socklen_t len = name_of(&a, "spoke0");
	char in[8];

	check_from(hub, "0", "spoke0");
	check_from(hub, "1", "spoke1");
	check_from(hub, "2", NULL);
	check_from(hub, "g", "gone");
	CHECK(recv(hub, in, 1, 0) == -1 && errno == EAGAIN);
	CHECK(write(spoke[2], "new", 3) == 3 && read(hub, in, sizeof(in)) == 3);
	CHECK(sendto(hub, "x", 1, 0, (struct sockaddr *)&a, len) == 1);
	check_from(spoke[0], "x", "hub");
	CHECK(access(case_path("gone"), F_OK) == -1);

	check_from(self, "me", "self");
	CHECK(write(self, "again", 5) == 5 && read(self, in, sizeof(in)) == 5);
	check_from(right, "l", "left");
	check_from(left, "rr", "right");
	CHECK(write(left, "1", 1) == 1 && read(right, in, sizeof(in)) == 1);
	check_from(chain[1], "c", "chain0");
	check_from(chain[2], "dd", "chain1");
	CHECK(write(chain[0], "no", 2) == -1 && errno == EPERM);
	CHECK(write(chain[1], "ok", 2) == 2 && read(chain[2], in, sizeof(in)) == 2);

	check_from(forgot, "still", NULL);
	CHECK(write(forgot, "x", 1) == -1 && errno == ENOTCONN);
	CHECK(write(remembers, "yes", 3) == 3 && read(forgot, in, sizeof(in)) == 3);
}

const struct test_case test_case = {
	.proves = "datagram sockets keep their connections, and messages their senders' names",
	.criu_fails = "names of senders; a pair of which one end forgot the other",
	.before = before,
	.after = after,
};
