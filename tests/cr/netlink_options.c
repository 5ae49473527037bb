/* SPDX-License-Identifier: MIT */
/* Netlink sockets: their options, groups beyond the 32nd, the type, membership without a port. */
#include <linux/netlink.h>
#include <sys/socket.h>

#include "../case.h"

#define HIGH_GROUP 34			/* RTNLGRP_TUNNEL */

static const struct {
	int level, name;
} flags[] = {
	{ SOL_NETLINK, NETLINK_PKTINFO }, { SOL_NETLINK, NETLINK_BROADCAST_ERROR },
	{ SOL_NETLINK, NETLINK_NO_ENOBUFS }, { SOL_NETLINK, NETLINK_CAP_ACK },
	{ SOL_NETLINK, NETLINK_EXT_ACK }, { SOL_NETLINK, NETLINK_GET_STRICT_CHK },
	{ SOL_SOCKET, SO_TIMESTAMP }, { SOL_SOCKET, SO_RXQ_OVFL }, { SOL_SOCKET, SO_LOCK_FILTER },
};
static int sock, plain, unbound;

#define FLAGS (int)(sizeof(flags) / sizeof(flags[0]))

static int get(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(fd, level, name, &v, &len) == 0);
	return v;
}

static void before(void)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	int i, on = 1, group = HIGH_GROUP;

	sock = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
	CHECK(sock >= 0 && bind(sock, (struct sockaddr *)&a, sizeof(a)) == 0);
	for (i = 0; i < FLAGS; i++)
		CHECK(setsockopt(sock, flags[i].level, flags[i].name, &on, sizeof(on)) == 0);
	CHECK(setsockopt(sock, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0);
	plain = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	CHECK(plain >= 0);
	unbound = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	group = 1;
	CHECK(setsockopt(unbound, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0);
}

static void after(void)
{
	unsigned int groups[2] = { 0, 0 };
	socklen_t len = sizeof(groups);
	int i;

	for (i = 0; i < FLAGS; i++) {
		CHECK(get(sock, flags[i].level, flags[i].name) == 1);
		CHECK(get(plain, flags[i].level, flags[i].name) == 0);
	}
	CHECK(get(sock, SOL_SOCKET, SO_TYPE) == SOCK_DGRAM &&
	      get(plain, SOL_SOCKET, SO_TYPE) == SOCK_RAW);
	CHECK(getsockopt(sock, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len) == 0);
	CHECK(groups[0] == 0 && groups[1] == 1u << (HIGH_GROUP - 33));
	len = sizeof(groups);
	CHECK(getsockopt(unbound, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len) == 0);
	CHECK(groups[0] == 1);
}

const struct test_case test_case = {
	.proves = "netlink sockets keep their options, groups beyond the 32nd, and type",
	.criu_fails = "has no field for the options, and refuses groups beyond the 32nd",
	.before = before,
	.after = after,
};
