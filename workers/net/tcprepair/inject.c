/* SPDX-License-Identifier: MIT */
/*
 * inject.c - one bare TCP segment, sent through a raw socket to a local address.
 *
 * Rights:   CAP_NET_RAW; CAP_NET_ADMIN for the mark.
 * Holds:    nothing.
 * There is no call that puts a FIN into a receive queue, so it must arrive. The packet's
 * destination is local: it crosses the loopback device with the route it was sent with, so
 * neither rp_filter nor the foreign source address stops it.
 */
#include "workers/net/tcprepair/inject.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/net/tcprepair/handle.h"

struct pseudo4 {
	uint32_t from, to;
	uint8_t zero, protocol;
	uint16_t len;
};

struct pseudo6 {
	struct in6_addr from, to;
	uint32_t len;
	uint8_t zero[3], protocol;
};

struct packet4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct packet6 {
	struct ip6_hdr ip;
	struct tcphdr tcp;
};

/* Ones' complement sum of an even number of bytes, going on from sum. */
static uint32_t sum16(const void *data, size_t len, uint32_t sum)
{
	const unsigned char *p = data;
	size_t i;

	for (i = 0; i < len; i += 2)
		sum += p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

/* A window of 0: it changes nothing that the restored window parameters do not set again. */
static void fill_tcp(const struct tcprepair_segment *g, struct tcphdr *tcp)
{
	tcp->source = g->peer->v4.sin_port;	/* at the same place in sockaddr_in6 */
	tcp->dest = g->local->v4.sin_port;
	tcp->seq = htonl(g->seq);
	tcp->ack_seq = htonl(g->ack);
	tcp->doff = sizeof(*tcp) / 4;
	tcp->ack = 1;
	tcp->fin = g->fin;
}

static uint32_t v4_of(const union tcprepair_addr *a)
{
	uint32_t ip;

	if (a->sa.sa_family == AF_INET)
		return a->v4.sin_addr.s_addr;
	memcpy(&ip, &a->v6.sin6_addr.s6_addr[12], sizeof(ip));
	return ip;
}

static ssize_t send_v4(int fd, const struct tcprepair_segment *g)
{
	struct packet4 p = { 0 };
	struct pseudo4 pseudo = { .from = v4_of(g->peer), .to = v4_of(g->local),
				  .protocol = IPPROTO_TCP, .len = htons(sizeof(p.tcp)) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = pseudo.to };

	p.ip.version = 4;
	p.ip.ihl = sizeof(p.ip) / 4;
	p.ip.tot_len = htons(sizeof(p));
	p.ip.ttl = 64;
	p.ip.protocol = IPPROTO_TCP;
	p.ip.saddr = pseudo.from;
	p.ip.daddr = pseudo.to;
	fill_tcp(g, &p.tcp);
	p.tcp.check = fold(sum16(&p.tcp, sizeof(p.tcp), sum16(&pseudo, sizeof(pseudo), 0)));
	return sendto(fd, &p, sizeof(p), 0, (struct sockaddr *)&to, sizeof(to));
}

static ssize_t send_v6(int fd, const struct tcprepair_segment *g)
{
	struct packet6 p = { 0 };
	struct pseudo6 pseudo = { .from = g->peer->v6.sin6_addr, .to = g->local->v6.sin6_addr,
				  .protocol = IPPROTO_TCP, .len = htonl(sizeof(p.tcp)) };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = pseudo.to,
				   .sin6_scope_id = g->local->v6.sin6_scope_id };

	p.ip.ip6_flow = htonl(6u << 28);
	p.ip.ip6_plen = htons(sizeof(p.tcp));
	p.ip.ip6_nxt = IPPROTO_TCP;
	p.ip.ip6_hlim = 64;
	p.ip.ip6_src = pseudo.from;
	p.ip.ip6_dst = pseudo.to;
	fill_tcp(g, &p.tcp);
	p.tcp.check = fold(sum16(&p.tcp, sizeof(p.tcp), sum16(&pseudo, sizeof(pseudo), 0)));
	return sendto(fd, &p, sizeof(p), 0, (struct sockaddr *)&to, sizeof(to));
}

int tcprepair_inject(const struct tcprepair_segment *g, struct fault *f)
{
	bool v6 = g->local->sa.sa_family == AF_INET6 && !tcprepair_is_mapped(g->local);
	AUTO_CLOSE int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	char text[TCPREPAIR_NAME_MAX];
	ssize_t n;

	tcprepair_name(g->local, g->peer, text);
	if (fd < 0)
		return fault(f, errno, "TCP connection %s: a raw socket is needed to restore its "
			     "FIN; run with CAP_NET_RAW", text);
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &g->mark, sizeof(g->mark)) < 0 ||
	    (g->ifindex && setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &g->ifindex,
				      sizeof(g->ifindex)) < 0))
		return fault(f, errno, "TCP connection %s: could not mark a packet", text);
	n = v6 ? send_v6(fd, g) : send_v4(fd, g);
	if (n < 0)
		return fault(f, errno, "TCP connection %s: could not inject a segment into it "
			     "(is the loopback device up, and do packets with mark %#x pass the "
			     "output filter?)", text, g->mark);
	return 0;
}
