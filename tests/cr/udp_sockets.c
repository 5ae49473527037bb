/* SPDX-License-Identifier: MIT */
/*
 * UDP sockets, v4, v6 and mapped: addresses, peers, shutdown, broadcast, groups, and options; two
 * that share a port keep it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define GROUP "239.83.84.65"
#define GROUP6 "ff12::5354:4153"

static int v4, v6, mapped, client, shared[2], fresh, corked, member, member6;
static struct sockaddr_in at4, at_client, at_shared;
static struct sockaddr_in6 at6, at_mapped;

static int get(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(fd, level, name, &v, &len) == 0);
	return v;
}

static void set(int fd, int level, int name, int v)
{
	CHECK(setsockopt(fd, level, name, &v, sizeof(v)) == 0);
}

static void name_of(int fd, void *a, socklen_t len)
{
	CHECK(getsockname(fd, a, &len) == 0);
}

static int bound4(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	*a = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)a, sizeof(*a)) == 0);
	name_of(fd, a, sizeof(*a));
	return fd;
}

static int bound6(struct sockaddr_in6 *a, int only)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	*a = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	if (only)
		a->sin6_addr = in6addr_loopback;
	set(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)a, sizeof(*a)) == 0);
	name_of(fd, a, sizeof(*a));
	return fd;
}

/* Two on one port; the option that allowed it is gone. */
static void bind_shared(void)
{
	shared[0] = socket(AF_INET, SOCK_DGRAM, 0);
	shared[1] = socket(AF_INET, SOCK_DGRAM, 0);
	set(shared[0], SOL_SOCKET, SO_REUSEADDR, 1);
	set(shared[1], SOL_SOCKET, SO_REUSEADDR, 1);
	at_shared = at4;
	at_shared.sin_port = 0;
	CHECK(bind(shared[0], (struct sockaddr *)&at_shared, sizeof(at_shared)) == 0);
	name_of(shared[0], &at_shared, sizeof(at_shared));
	CHECK(bind(shared[1], (struct sockaddr *)&at_shared, sizeof(at_shared)) == 0);
	set(shared[0], SOL_SOCKET, SO_REUSEADDR, 0);
	set(shared[1], SOL_SOCKET, SO_REUSEADDR, 0);
}

static void join_groups(void)
{
	struct ip_mreqn four = { .imr_ifindex = if_nametoindex("lo") };
	struct ipv6_mreq six = { .ipv6mr_interface = if_nametoindex("lo") };
	struct sockaddr_in a;
	struct sockaddr_in6 a6;

	member = bound4(&a);
	CHECK(inet_pton(AF_INET, GROUP, &four.imr_multiaddr) == 1);
	CHECK(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof(four)) == 0);
	set(member, IPPROTO_IP, IP_MULTICAST_TTL, 7);
	set(member, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
	member6 = bound6(&a6, 1);
	CHECK(inet_pton(AF_INET6, GROUP6, &six.ipv6mr_multiaddr) == 1);
	CHECK(setsockopt(member6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof(six)) == 0);
	set(member6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 9);
}

static void before(void)
{
	v4 = bound4(&at4);
	set(v4, IPPROTO_IP, IP_TOS, 0x10);
	set(v4, IPPROTO_IP, IP_TTL, 33);
	set(v4, IPPROTO_IP, IP_PKTINFO, 1);
	set(v4, IPPROTO_IP, IP_RECVTTL, 1);
	set(v4, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	set(v4, SOL_SOCKET, SO_BROADCAST, 1);
	set(v4, SOL_SOCKET, SO_TIMESTAMP, 1);
	v6 = bound6(&at6, 1);
	set(v6, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	set(v6, IPPROTO_IPV6, IPV6_TCLASS, 0x20);
	set(v6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 5);
	mapped = bound6(&at_mapped, 0);
	client = bound4(&at_client);
	CHECK(connect(client, (struct sockaddr *)&at4, sizeof(at4)) == 0);
	CHECK(shutdown(client, SHUT_RD) == 0);
	bind_shared();
	fresh = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fresh >= 0 && fchown(fresh, getuid(), -1) == 0);
	corked = bound4(&(struct sockaddr_in){ 0 });
	set(corked, IPPROTO_UDP, UDP_CORK, 1);
	join_groups();
}

static void check_options(void)
{
	CHECK(get(v4, IPPROTO_IP, IP_TOS) == 0x10);
	CHECK(get(v4, IPPROTO_IP, IP_TTL) == 33);
	CHECK(get(v4, IPPROTO_IP, IP_PKTINFO) == 1);
	CHECK(get(v4, SOL_SOCKET, SO_BROADCAST) == 1);
	CHECK(get(v6, IPPROTO_IPV6, IPV6_RECVPKTINFO) == 1);
	CHECK(get(v6, IPPROTO_IPV6, IPV6_V6ONLY) == 1 &&
	      get(mapped, IPPROTO_IPV6, IPV6_V6ONLY) == 0);
	CHECK(get(v4, IPPROTO_IP, IP_RECVTTL) == 1);
	CHECK(get(v4, IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DO);
	CHECK(get(v4, SOL_SOCKET, SO_TIMESTAMP) == 1);
	CHECK(get(v6, IPPROTO_IPV6, IPV6_TCLASS) == 0x20);
	CHECK(get(v6, IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 5);
	CHECK(get(corked, IPPROTO_UDP, UDP_CORK) == 1);
	CHECK(get(member, IPPROTO_IP, IP_MULTICAST_TTL) == 7);
	CHECK(get(member, IPPROTO_IP, IP_MULTICAST_LOOP) == 0);
	CHECK(get(member6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS) == 9);
}

/* Leaving a group succeeds once, for a member. */
static void check_groups(void)
{
	struct ip_mreqn four = { .imr_ifindex = if_nametoindex("lo") };
	struct ipv6_mreq six = { .ipv6mr_interface = if_nametoindex("lo") };

	CHECK(inet_pton(AF_INET, GROUP, &four.imr_multiaddr) == 1);
	CHECK(setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &four, sizeof(four)) == 0);
	CHECK(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof(four)) == 0);
	CHECK(inet_pton(AF_INET6, GROUP6, &six.ipv6mr_multiaddr) == 1);
	CHECK(setsockopt(member6, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &six, sizeof(six)) == 0);
	CHECK(setsockopt(member6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof(six)) == 0);
}

static void check_traffic(void)
{
	struct sockaddr_in to = at4;
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	char buf[8];

	CHECK(send(client, "one", 3, 0) == 3 && recv(v4, buf, sizeof(buf), 0) == 3);
	CHECK(recv(client, buf, sizeof(buf), 0) == 0);
	to.sin_port = at_mapped.sin6_port;
	CHECK(sendto(v4, "two", 3, 0, (struct sockaddr *)&to, sizeof(to)) == 3);
	CHECK(recvfrom(mapped, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len) == 3);
	CHECK(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr) && from.sin6_port == at4.sin_port);
	CHECK(sendto(mapped, "three", 5, 0, (struct sockaddr *)&at6, sizeof(at6)) == 5);
	CHECK(recv(v6, buf, sizeof(buf), 0) == 5);
}

static void after(void)
{
	struct sockaddr_in a;

	name_of(client, &a, sizeof(a));
	CHECK(memcmp(&a, &at_client, sizeof(a)) == 0);
	name_of(shared[1], &a, sizeof(a));
	CHECK(memcmp(&a, &at_shared, sizeof(a)) == 0);
	CHECK(get(shared[0], SOL_SOCKET, SO_REUSEADDR) == 0 &&
	      get(shared[1], SOL_SOCKET, SO_REUSEADDR) == 0);
	name_of(fresh, &a, sizeof(a));
	CHECK(a.sin_port == 0 && (fcntl(fresh, F_GETFD) & FD_CLOEXEC));
	CHECK(fcntl(v6, F_GETFL) & O_NONBLOCK);
	check_options();
	check_groups();
	check_traffic();
}

const struct test_case test_case = {
	.proves = "UDP sockets keep addresses, peers, groups and options",
	.before = before,
	.after = after,
	.criu_fails = "a corked socket, even an empty one",
};
