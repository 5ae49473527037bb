/* SPDX-License-Identifier: MIT */
/* Raw sockets of both families: addresses, header inclusion, filters of ICMP messages. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "../case.h"

#define SOL_RAW_LEVEL 255
#define FILTER 1			/* ICMP_FILTER */
#define NODEFRAG 22			/* IP_NODEFRAG */
#define PROTOCOL 253			/* for experiments (RFC 3692) */

static int icmp, icmp6, any, any6, sender, udp;
static struct icmp6_filter filter6;

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

static int raw(int family, int protocol)
{
	int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK, protocol);

	if (fd < 0 && errno == EPERM)
		case_skip("no raw sockets here");
	CHECK(fd >= 0);
	return fd;
}

static struct sockaddr_in loopback(int host, int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(0x7f000000 + host) };
}

static void before(void)
{
	struct sockaddr_in a = loopback(9, 0), peer = loopback(9, 5);
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };

	icmp = raw(AF_INET, IPPROTO_ICMP);
	set(icmp, SOL_RAW_LEVEL, FILTER, ~(1 << ICMP_ECHOREPLY));
	set(icmp, IPPROTO_IP, IP_TTL, 17);
	icmp6 = raw(AF_INET6, IPPROTO_ICMPV6);
	ICMP6_FILTER_SETBLOCKALL(&filter6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter6);
	CHECK(setsockopt(icmp6, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof(filter6)) == 0);
	any = raw(AF_INET, PROTOCOL);
	CHECK(bind(any, (struct sockaddr *)&a, sizeof(a)) == 0);
	any6 = raw(AF_INET6, PROTOCOL);
	CHECK(bind(any6, (struct sockaddr *)&a6, sizeof(a6)) == 0);
	udp = raw(AF_INET, IPPROTO_UDP);
	set(udp, IPPROTO_IP, IP_HDRINCL, 1);
	set(udp, IPPROTO_IP, NODEFRAG, 1);
	sender = raw(AF_INET, PROTOCOL);
	CHECK(connect(sender, (struct sockaddr *)&peer, sizeof(peer)) == 0);
}

static void check_traffic(void)
{
	struct pollfd p = { .fd = any, .events = POLLIN };
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);
	char text[128];

	CHECK(send(sender, "hello", 6, 0) == 6);
	CHECK(poll(&p, 1, 5000) == 1);
	CHECK(recvfrom(any, text, sizeof(text), 0, (struct sockaddr *)&from, &len) == 26);
	CHECK(!strcmp(text + 20, "hello"));
	CHECK(recv(any6, text, sizeof(text), 0) < 0 && errno == EAGAIN);
}

static void after(void)
{
	struct icmp6_filter now6;
	struct sockaddr_in a = { 0 };
	struct sockaddr_in6 a6 = { 0 };
	socklen_t len = sizeof(now6);

	CHECK(get(icmp, SOL_RAW_LEVEL, FILTER) == ~(1 << ICMP_ECHOREPLY));
	CHECK(get(icmp, IPPROTO_IP, IP_TTL) == 17 && get(icmp, IPPROTO_IP, IP_HDRINCL) == 0);
	CHECK(getsockopt(icmp6, IPPROTO_ICMPV6, ICMP6_FILTER, &now6, &len) == 0);
	CHECK(!memcmp(&now6, &filter6, sizeof(now6)));
	len = sizeof(a);
	CHECK(getsockname(any, (struct sockaddr *)&a, &len) == 0);
	CHECK(a.sin_addr.s_addr == htonl(0x7f000009) && a.sin_port == htons(PROTOCOL));
	len = sizeof(a6);
	CHECK(getsockname(any6, (struct sockaddr *)&a6, &len) == 0);
	CHECK(!memcmp(&a6.sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback)));
	CHECK(get(udp, IPPROTO_IP, IP_HDRINCL) == 1 && get(udp, IPPROTO_IP, NODEFRAG) == 1);
	check_traffic();
}

const struct test_case test_case = {
	.proves = "raw sockets keep addresses, peers, header inclusion and ICMP filters",
	.needs_root = true,
	.before = before,
	.after = after,
};
