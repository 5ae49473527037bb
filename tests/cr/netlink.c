/* SPDX-License-Identifier: MIT */
/* A netlink socket keeps its port, groups and options, and answers; shared by two descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define GROUPS RTMGRP_DECnet_ROUTE	/* nothing ever happens there: others use the network too */

static int sock, copy, plain;
static unsigned int port;

static unsigned int port_of(int fd)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return a.nl_pid;
}

static void before(void)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = GROUPS };
	int size = 50000;

	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
	CHECK(sock >= 0 && bind(sock, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == 0);
	port = port_of(sock);
	copy = dup(sock);
	plain = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	CHECK(copy >= 0 && plain >= 0);
}

static void ask_link(int fd)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = { .h = { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, .i = { .ifi_index = 1 } };
	struct {
		struct nlmsghdr h;
		char rest[8192];
	} a;

	CHECK(send(fd, &q, sizeof(q), 0) == sizeof(q));
	CHECK(recv(fd, &a, sizeof(a), 0) > (int)sizeof(a.h));
	CHECK(a.h.nlmsg_type == RTM_NEWLINK && a.h.nlmsg_seq == 7);
}

static void after(void)
{
	struct sockaddr_nl a;
	socklen_t len = sizeof(a);
	int size;

	CHECK(port_of(sock) == port && port_of(plain) == 0);
	CHECK(getsockname(copy, (struct sockaddr *)&a, &len) == 0 && a.nl_groups == GROUPS);
	len = sizeof(size);
	CHECK(getsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, &len) == 0 && size == 100000);
	CHECK(recv(sock, &size, 1, 0) < 0 && errno == EAGAIN);
	CHECK(fcntl(sock, F_SETFL, 0) == 0);
	ask_link(copy);
	CHECK(fcntl(copy, F_SETFL, O_NONBLOCK) == 0);
}

const struct test_case test_case = {
	.proves = "a netlink socket keeps its port, groups, options and descriptors",
	.before = before,
	.after = after,
};
