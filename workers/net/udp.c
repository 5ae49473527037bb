/* SPDX-License-Identifier: MIT */
/*
 * udp.c - UDP and UDP-Lite sockets, both directions.
 *
 * Datagrams that wait are lost, as datagrams may be. What a program has written with UDP_CORK or
 * MSG_MORE is not sent yet and cannot be read: such a socket is refused.
 *
 * Rights:   those of inet.c.
 * Holds:    nothing.
 */
#include "workers/net/udp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/net/asking.h"
#include "workers/net/inet.h"

static bool is_udp(uint32_t family, uint32_t type, uint32_t protocol)
{
	return (family == AF_INET || family == AF_INET6) && type == SOCK_DGRAM &&
	       (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE);
}

static bool match_udp(const struct sock *s)
{
	return is_udp(s->family, s->type, s->protocol);
}

static int check_corked(struct net *net, struct sock *s, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	int corked, bytes = 0;

	(void)net;
	if (ask_number(s->fd, IPPROTO_UDP, UDP_CORK, &corked) < 0 ||
	    ioctl(s->fd, SIOCOUTQ, &bytes) < 0)
		return fault(f, errno, "%s: read its state", sock_name(s, who, sizeof(who)));
	if (corked && bytes)
		return fault(f, -EBUSY, "%s: it holds a datagram back (UDP_CORK), which cannot be "
			     "read: dump again when the program has sent it",
			     sock_name(s, who, sizeof(who)));
	if (bytes)
		log_info("%s: %d bytes that it sent are on their way",
			 sock_name(s, who, sizeof(who)), bytes);
	return 0;
}

static int read_state(struct net *net, struct sock *s, InetSkEntry *e, struct fault *f)
{
	uint32_t how = 0;

	if (e->src_port && inet_shutdown_of(net, s, &how, f) < 0)
		return -1;
	e->has_shutdown = true;
	e->shutdown = how;
	return 0;
}

static int write_udp(struct net *net, struct sock *s, struct fault *f)
{
	struct inet_entry x;
	int r = -1;

	if (check_corked(net, s, f) < 0)
		return -1;
	if (inet_read(net, s, &x, f) == 0 && read_state(net, s, &x.e, f) == 0)
		r = inet_write(net, &x, f);
	inet_free(&x);
	return r;
}

static bool match_entry(const FileEntry *e)
{
	return e->isk && is_udp(e->isk->family, e->isk->type, e->isk->proto);
}

static enum sock_created create_udp(struct net *net, struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	union inet_addr own, peer;

	inet_own(e, &own);
	inet_peer(e, &peer);
	if (inet_socket(net, s, f) < 0 || inet_options(net, s, f) < 0 ||
	    inet_bind(s, &own, f) < 0 || (e->dst_port && inet_connect(s, &peer, f) < 0) ||
	    inet_finish(s, f) < 0)
		return SOCK_FAILED;
	return SOCK_CREATED;
}

static int settle_udp(struct net *net, struct fault *f)
{
	return net_each_sock(net, &udp_kind, inet_settle, f);
}

static void end_udp(struct net *net, bool run_on)
{
	(void)run_on;
	inet_end(net);
}

const struct sock_kind udp_kind = {
	.name = "UDP socket",
	.type = FD_TYPES__INETSK,
	.deed = "created again, without datagrams that are not read",
	.match = match_udp,
	.preflight = check_corked,
	.write = write_udp,
	.match_entry = match_entry,
	.check = inet_check,
	.create = create_udp,
	.fill = settle_udp,
	.end = end_udp,
};
