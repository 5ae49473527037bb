/* SPDX-License-Identifier: MIT */
/*
 * Netlink sockets connected to another's port, to a group, to a port nobody has, or to the kernel.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "../case.h"

#define GROUP 5
#define DEAD 0x7a7a7a7a

static int listener, member, to_port, to_group, to_dead, to_kernel, filtered;
static struct sock_filter deny[] = {
	{ BPF_LD | BPF_W | BPF_LEN, 0, 0, 0 }, { BPF_RET | BPF_K, 0, 0, 0 },
};

static unsigned int port_of(int fd)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return a.nl_pid;
}

static int bound(int protocol, unsigned int groups)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, protocol);

	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static int connected(unsigned int port, unsigned int groups)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups };
	int fd = bound(NETLINK_USERSOCK, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == EPERM)
		case_skip("may not connect netlink sockets");
	return fd;
}

static void before(void)
{
	struct sock_fprog prog = { 2, deny };

	listener = bound(NETLINK_USERSOCK, 0);
	member = bound(NETLINK_USERSOCK, 1u << (GROUP - 1));
	to_port = connected(port_of(listener), 0);
	to_group = connected(port_of(listener), 1u << (GROUP - 1));
	to_dead = connected(DEAD, 0);
	to_kernel = connected(0, 0);
	filtered = bound(NETLINK_USERSOCK, 1u << (GROUP - 1));
	CHECK(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
}

static int say(int fd)
{
	struct nlmsghdr h = { .nlmsg_len = sizeof(h), .nlmsg_type = 0x1234 };

	return send(fd, &h, sizeof(h), 0);
}

static void hears(int fd, int from)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);
	struct nlmsghdr h;

	CHECK(recvfrom(fd, &h, sizeof(h), 0, (struct sockaddr *)&a, &len) == sizeof(h));
	CHECK(h.nlmsg_type == 0x1234 && a.nl_pid == port_of(from));
}

static void silent(int fd)
{
	char byte;

	CHECK(recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN);
}

static void check_peer(int fd, unsigned int port, unsigned int groups)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getpeername(fd, (struct sockaddr *)&a, &len) == 0);
	CHECK(a.nl_pid == port && a.nl_groups == groups);
}

static void after(void)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = port_of(to_kernel) };
	struct nlmsghdr h = { .nlmsg_len = sizeof(h), .nlmsg_type = 0x1234 };

	check_peer(to_port, port_of(listener), 0);
	check_peer(to_group, port_of(listener), 1u << (GROUP - 1));
	check_peer(to_dead, DEAD, 0);
	CHECK(say(to_port) > 0);
	hears(listener, to_port);
	silent(member);
	CHECK(say(to_group) > 0);
	hears(listener, to_group);
	hears(member, to_group);
	silent(filtered);
	CHECK(say(to_dead) < 0 && errno == ECONNREFUSED);
	/* Who is connected to the kernel is deaf to others. */
	CHECK(sendto(listener, &h, sizeof(h), 0, (struct sockaddr *)&a, sizeof(a)) < 0 &&
	      errno == ECONNREFUSED);
}

const struct test_case test_case = {
	.proves = "netlink sockets stay connected to ports, groups and the kernel, and keep "
		  "filters",
	.criu_fails = "connects to group 32 where there was no group",
	.needs_root = true,
	.before = before,
	.after = after,
};
