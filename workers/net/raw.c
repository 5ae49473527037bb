/* SPDX-License-Identifier: MIT */
/*
 * raw.c - raw internet sockets, and those that ping without privileges; both directions.
 *
 * The "port" of a raw socket is its protocol, that of a ping socket the id in its requests. Packets
 * that wait are lost, as datagrams may be.
 *
 * Rights:   those of inet.c; CAP_NET_RAW; CAP_SETGID to be of a group that may ping (sock_open).
 * Holds:    nothing.
 */
#include "workers/net/raw.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/net/asking.h"
#include "workers/net/inet.h"
#include "workers/net/raw_peers.h"

#ifndef IP_NODEFRAG
#define IP_NODEFRAG 22
#endif
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif
/* Of linux/icmp.h, which does not go with net/if.h. */
#define ICMP_FILTER 1
#define STATE_ESTABLISHED 1
#define FILTER_WORDS_V4 1
#define FILTER_WORDS_V6 8

static bool is_raw(uint32_t family, uint32_t type, uint32_t protocol)
{
	return (family == AF_INET || family == AF_INET6) &&
	       (type == SOCK_RAW || (type == SOCK_DGRAM &&
				     (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)));
}

static bool match_raw(const struct sock *s)
{
	return is_raw(s->family, s->type, s->protocol);
}

/* Only a raw socket of its own family's ICMP has a filter. Returns its words, 0: none. */
static size_t filter_words(uint32_t family, uint32_t protocol)
{
	if (family == AF_INET)
		return protocol == IPPROTO_ICMP ? FILTER_WORDS_V4 : 0;
	return protocol == IPPROTO_ICMPV6 ? FILTER_WORDS_V6 : 0;
}

static int filter_level(uint32_t family)
{
	return family == AF_INET ? SOL_RAW : IPPROTO_ICMPV6;
}

static int filter_name(uint32_t family)
{
	return family == AF_INET ? ICMP_FILTER : ICMP6_FILTER;
}

static int hdrincl_level(uint32_t family)
{
	return family == AF_INET ? SOL_IP : SOL_IPV6;
}

static int hdrincl_name(uint32_t family)
{
	return family == AF_INET ? IP_HDRINCL : IPV6_HDRINCL;
}

/* ---- dump ---- */

static int get(int fd, int level, int name, bool *value, struct fault *f)
{
	int v, r = ask_number(fd, level, name, &v);

	*value = v != 0;
	return r < 0 ? fault(f, errno, "read option %d of level %d of a raw socket", name, level) :
		       0;
}

static int read_raw(const struct sock *s, IpOptsRawEntry *raw, uint32_t filter[FILTER_WORDS_V6],
		    struct fault *f)
{
	socklen_t len = filter_words(s->family, s->protocol) * sizeof(*filter);
	bool hdrincl, nodefrag = false;

	if (get(s->fd, hdrincl_level(s->family), hdrincl_name(s->family), &hdrincl, f) < 0 ||
	    (s->family == AF_INET && get(s->fd, SOL_IP, IP_NODEFRAG, &nodefrag, f) < 0))
		return -1;
	raw->has_hdrincl = raw->hdrincl = hdrincl;
	raw->has_nodefrag = raw->nodefrag = nodefrag;
	raw->n_icmpv_filter = len / sizeof(*filter);
	raw->icmpv_filter = len ? filter : NULL;
	if (len &&
	    getsockopt(s->fd, filter_level(s->family), filter_name(s->family), filter, &len) < 0)
		return fault(f, errno, "read the filter of an ICMP socket");
	return 0;
}

/* A peer without port. */
static void read_peer(struct net *net, const struct sock *s, struct inet_entry *x)
{
	const struct raw_peer *p = x->e.dst_port ? NULL : raw_peer(net, s->ino);

	if (!p || p->state != STATE_ESTABLISHED)
		return;
	memcpy(x->dst, p->address, sizeof(x->dst));
	x->e.state = STATE_ESTABLISHED;
}

static int write_raw(struct net *net, struct sock *s, struct fault *f)
{
	IpOptsRawEntry raw = IP_OPTS_RAW_ENTRY__INIT;
	uint32_t filter[FILTER_WORDS_V6];
	struct inet_entry x;
	int r = inet_read(net, s, &x, f);

	if (r == 0)
		read_peer(net, s, &x);
	if (r == 0 && s->type == SOCK_RAW) {
		r = read_raw(s, &raw, filter, f);
		x.ip.raw = &raw;
	}
	if (r == 0)
		r = inet_write(net, &x, f);
	inet_free(&x);
	return r;
}

/* ---- restore ---- */

static bool match_entry(const FileEntry *e)
{
	return e->isk && is_raw(e->isk->family, e->isk->type, e->isk->proto);
}

static int check_raw(struct net *net, struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	const IpOptsRawEntry *raw = e->ip_opts ? e->ip_opts->raw : NULL;

	if (inet_check(net, s, f) < 0)
		return -1;
	if (raw && raw->n_icmpv_filter && raw->n_icmpv_filter != filter_words(e->family, e->proto))
		return fault(f, -EBADMSG, "files.img: raw socket %u has a filter of %zu words",
			     s->id, raw->n_icmpv_filter);
	return 0;
}

/* One of IPPROTO_RAW has IP_HDRINCL on from the start. */
static int apply_hdrincl(int fd, const InetSkEntry *e, const IpOptsRawEntry *raw, struct fault *f)
{
	int want = raw && raw->hdrincl;
	bool now;

	if (get(fd, hdrincl_level(e->family), hdrincl_name(e->family), &now, f) < 0)
		return -1;
	if (now != want && setsockopt(fd, hdrincl_level(e->family), hdrincl_name(e->family), &want,
				      sizeof(want)) < 0)
		return fault(f, errno, "set IP_HDRINCL to %d", want);
	return 0;
}

static int apply_raw(int fd, const InetSkEntry *e, struct fault *f)
{
	const IpOptsRawEntry *raw = e->ip_opts ? e->ip_opts->raw : NULL;
	const int on = 1;

	if (e->type != SOCK_RAW)
		return 0;
	if (raw && raw->nodefrag && setsockopt(fd, SOL_IP, IP_NODEFRAG, &on, sizeof(on)) < 0)
		return fault(f, errno, "set IP_NODEFRAG");
	if (raw && raw->n_icmpv_filter &&
	    setsockopt(fd, filter_level(e->family), filter_name(e->family), raw->icmpv_filter,
		       raw->n_icmpv_filter * sizeof(*raw->icmpv_filter)) < 0)
		return fault(f, errno, "set its filter of ICMP messages");
	return apply_hdrincl(fd, e, raw, f);
}

static enum sock_created create_raw(struct net *net, struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	union inet_addr own, peer;

	inet_own(e, &own);
	inet_peer(e, &peer);
	if (inet_socket(net, s, f) < 0 || apply_raw(s->fd, e, f) < 0 ||
	    inet_options(net, s, f) < 0 || inet_bind(s, &own, f) < 0 ||
	    ((e->dst_port || e->state == STATE_ESTABLISHED) && inet_connect(s, &peer, f) < 0) ||
	    inet_finish(s, f) < 0)
		return SOCK_FAILED;
	return SOCK_CREATED;
}

static int settle_raw(struct net *net, struct fault *f)
{
	return net_each_sock(net, &raw_kind, inet_settle, f);
}

static void end_raw(struct net *net, bool run_on)
{
	(void)run_on;
	raw_peers_end(net);
}

const struct sock_kind raw_kind = {
	.name = "raw socket",
	.type = FD_TYPES__INETSK,
	.match = match_raw,
	.write = write_raw,
	.match_entry = match_entry,
	.check = check_raw,
	.create = create_raw,
	.fill = settle_raw,
	.end = end_raw,
};
