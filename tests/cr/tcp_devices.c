/* SPDX-License-Identifier: MIT */
/*
 * Sockets of one device: link-local addresses of TCP connections, listeners and UDP sockets keep
 * their device, and so does SO_BINDTODEVICE.
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "../case.h"

static struct sockaddr_in6 at;
static int listener, client, server, udp, bound;

/* An address that needs its device named. */
static bool find_address(struct sockaddr_in6 *a)
{
	struct ifaddrs *all, *i;
	bool found = false;

	CHECK(getifaddrs(&all) == 0);
	for (i = all; i && !found; i = i->ifa_next) {
		const struct sockaddr_in6 *x = (void *)i->ifa_addr;

		found = x && x->sin6_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&x->sin6_addr);
		if (found)
			*a = *x;
	}
	freeifaddrs(all);
	return found;
}

static void before(void)
{
	socklen_t len = sizeof(at);
	struct sockaddr_in6 mine;

	if (!find_address(&at))
		case_skip("no device has a link-local address");
	mine = at;
	listener = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK(bind(listener, (void *)&at, sizeof(at)) == 0 && listen(listener, 2) == 0);
	CHECK(getsockname(listener, (void *)&at, &len) == 0 && at.sin6_scope_id);
	client = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK(connect(client, (void *)&at, sizeof(at)) == 0);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0 && send(client, "near", 4, 0) == 4);
	udp = socket(AF_INET6, SOCK_DGRAM, 0);
	CHECK(bind(udp, (void *)&mine, sizeof(mine)) == 0 &&
	      connect(udp, (void *)&at, sizeof(at)) == 0);
	bound = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(setsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) == 0);
	CHECK(listen(bound, 1) == 0);
}

static void check_scope(int fd)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (void *)&a, &len) == 0 && a.sin6_scope_id == at.sin6_scope_id);
	CHECK(memcmp(&a.sin6_addr, &at.sin6_addr, sizeof(a.sin6_addr)) == 0);
}

static void after(void)
{
	char buf[IF_NAMESIZE] = "";
	socklen_t len = sizeof(buf);

	check_scope(listener);
	check_scope(client);
	check_scope(server);
	check_scope(udp);
	CHECK(recv(server, buf, 4, 0) == 4 && memcmp(buf, "near", 4) == 0);
	CHECK(send(server, "there", 5, 0) == 5 && recv(client, buf, 5, 0) == 5);
	memset(buf, 0, sizeof(buf));
	CHECK(getsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, buf, &len) == 0 &&
	      strcmp(buf, "lo") == 0);
}

const struct test_case test_case = {
	.proves = "sockets keep the device they belong to",
	.options = "--tcp-established",
	.before = before,
	.after = after,
	.criu_fails = "its connections lose the device of a link-local address",
};
