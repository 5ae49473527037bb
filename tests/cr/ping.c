/* SPDX-License-Identifier: MIT */
/* Sockets that ping without privileges: the id in their requests, their peer and options. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#include "../case.h"

static int fresh, used, connected, six;
static struct sockaddr_in at = { .sin_family = AF_INET };

static int ping_socket(int family, int protocol)
{
	int fd = socket(family, SOCK_DGRAM, protocol);

	if (fd < 0 && errno == EACCES)
		case_skip("who may ping is nobody (net.ipv4.ping_group_range)");
	CHECK(fd >= 0);
	return fd;
}

static void ping(int fd)
{
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo.sequence = htons(7) };

	CHECK(sendto(fd, &h, sizeof(h), 0, (struct sockaddr *)&at, sizeof(at)) == sizeof(h));
	CHECK(recv(fd, &h, sizeof(h), 0) == sizeof(h) && h.type == ICMP_ECHOREPLY);
	CHECK(h.un.echo.sequence == htons(7));
}

static int id_of(int fd)
{
	struct sockaddr_in a = { 0 };
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return ntohs(a.sin_port);
}

static int id, ttl = 9;

static void before(void)
{
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fresh = ping_socket(AF_INET, IPPROTO_ICMP);
	used = ping_socket(AF_INET, IPPROTO_ICMP);
	CHECK(setsockopt(used, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)) == 0);
	ping(used);
	id = id_of(used);
	connected = ping_socket(AF_INET, IPPROTO_ICMP);
	CHECK(connect(connected, (struct sockaddr *)&at, sizeof(at)) == 0);
	six = ping_socket(AF_INET6, IPPROTO_ICMPV6);
}

static void ping_connected(void)
{
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo.sequence = htons(8) };

	CHECK(send(connected, &h, sizeof(h), 0) == sizeof(h));
	CHECK(recv(connected, &h, sizeof(h), 0) == sizeof(h) && h.type == ICMP_ECHOREPLY);
}

static void ping_six(void)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct icmp6_hdr h = { .icmp6_type = ICMP6_ECHO_REQUEST };

	if (sendto(six, &h, sizeof(h), 0, (struct sockaddr *)&to, sizeof(to)) < 0 &&
	    errno == EADDRNOTAVAIL)
		return;			/* no IPv6 on this machine */
	CHECK(recv(six, &h, sizeof(h), 0) == sizeof(h) && h.icmp6_type == ICMP6_ECHO_REPLY);
}

static void after(void)
{
	socklen_t len = sizeof(ttl);

	CHECK(id && id_of(used) == id);
	CHECK(getsockopt(used, IPPROTO_IP, IP_TTL, &ttl, &len) == 0 && ttl == 9);
	ping(used);
	ping(fresh);
	ping_connected();
	ping_six();
}

const struct test_case test_case = {
	.proves = "ping sockets keep their id, peer and options",
	.criu_fails = "forgets the id and the peer",
	.before = before,
	.after = after,
};
