/* SPDX-License-Identifier: MIT */
/*
 * inet.c - what all internet sockets have in common, both directions: addresses, options, owner.
 *
 * Every socket is bound with SO_REUSEADDR on, which is taken back when all are: a program may have
 * had it on for a moment only.
 *
 * Rights:   CAP_NET_BIND_SERVICE, CAP_NET_ADMIN (mark, transparent), CAP_NET_RAW (device),
 *           CAP_CHOWN.
 * Holds:    net->inet: what fresh sockets have, groups of the host, shutdowns told by sock_diag.
 */
#include "workers/net/inet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/control/util.h"
#include "workers/net/inet_state.h"
#include "workers/net/multicast.h"
#include "workers/net/net.h"
#include "workers/net/numbers.h"
#include "workers/net/options.h"
#include "workers/net/sock.h"
#include "workers/net/udp_diag.h"

#ifndef SO_PEERNAME
#define SO_PEERNAME 28
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#define STATE_ESTABLISHED 1		/* TCP_* of linux/tcp.h, for all protocols */
#define STATE_CLOSE 7
#define BOTH_WAYS (SK_SHUTDOWN__READ | SK_SHUTDOWN__WRITE)

struct inet_state *inet_state(struct net *net)
{
	if (!net->inet)
		net->inet = xcalloc(1, sizeof(*net->inet));
	return net->inet;
}

void inet_end(struct net *net)
{
	if (!net->inet)
		return;
	multicast_end(net->inet->groups);
	udp_diag_end(net->inet->diag);
	free(net->inet->shared);
	free(net->inet);
	net->inet = NULL;
}

bool inet_family(const struct sock *s)
{
	return s->family == AF_INET || s->family == AF_INET6;
}

/* ---- addresses ---- */

socklen_t inet_addr_len(const union inet_addr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

bool inet_is_mapped(const union inet_addr *a)
{
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr);
}

const char *inet_text(const union inet_addr *a, char text[INET_ADDR_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (a->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof(ip));
		snprintf(text, INET_ADDR_TEXT, "[%s]:%u", ip, ntohs(a->v6.sin6_port));
	} else {
		inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof(ip));
		snprintf(text, INET_ADDR_TEXT, "%s:%u", ip, ntohs(a->v4.sin_port));
	}
	return text;
}

/*
 * SO_PEERNAME tells the peer of a connection that was reset or not answered yet, which
 * getpeername() does not; it wants the exact length.
 */
int inet_names(int fd, int family, union inet_addr *own, union inet_addr *peer, struct fault *f)
{
	socklen_t len = family == AF_INET ? sizeof(peer->v4) : sizeof(peer->v6);

	memset(own, 0, sizeof(*own));
	memset(peer, 0, sizeof(*peer));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERNAME, peer, &len) < 0) {
		if (errno != ENOTCONN)
			return fault(f, errno, "read the peer's address of a socket");
		memset(peer, 0, sizeof(*peer));
	}
	len = sizeof(*own);
	if (getsockname(fd, &own->sa, &len) < 0)
		return fault(f, errno, "read the address of a socket");
	return 0;
}

/* Into the words of an entry. */
static void split(const union inet_addr *a, uint32_t words[4], uint32_t *port)
{
	if (a->sa.sa_family == AF_INET) {
		words[0] = a->v4.sin_addr.s_addr;
		*port = ntohs(a->v4.sin_port);
	} else if (a->sa.sa_family == AF_INET6) {
		memcpy(words, &a->v6.sin6_addr, sizeof(a->v6.sin6_addr));
		*port = ntohs(a->v6.sin6_port);
	}
}

static void join(const InetSkEntry *e, const uint32_t *words, uint32_t port, union inet_addr *a)
{
	memset(a, 0, sizeof(*a));
	a->sa.sa_family = e->family;
	if (e->family == AF_INET) {
		a->v4.sin_addr.s_addr = words[0];
		a->v4.sin_port = htons(port);
	} else {
		memcpy(&a->v6.sin6_addr, words, sizeof(a->v6.sin6_addr));
		a->v6.sin6_port = htons(port);
		a->v6.sin6_scope_id = e->ifname ? if_nametoindex(e->ifname) : 0;
	}
}

void inet_own(const InetSkEntry *e, union inet_addr *own)
{
	join(e, e->src_addr, e->src_port, own);
}

void inet_peer(const InetSkEntry *e, union inet_addr *peer)
{
	join(e, e->dst_addr, e->dst_port, peer);
}

/* ---- dump ---- */

static int read_names(struct sock *s, struct inet_entry *x, struct fault *f)
{
	union inet_addr own, peer;
	uint32_t scope;

	if (inet_names(s->fd, s->family, &own, &peer, f) < 0)
		return -1;
	split(&own, x->src, &x->e.src_port);
	split(&peer, x->dst, &x->e.dst_port);
	x->e.state = x->e.dst_port ? STATE_ESTABLISHED : STATE_CLOSE;
	x->e.src_addr = x->src;
	x->e.dst_addr = x->dst;
	x->e.n_src_addr = x->e.n_dst_addr = s->family == AF_INET ? 1 : 4;
	if (s->family == AF_INET)
		return 0;
	scope = own.v6.sin6_scope_id ? own.v6.sin6_scope_id : peer.v6.sin6_scope_id;
	if (scope && !if_indextoname(scope, x->ifname))
		return fault(f, errno, "name device %u of a link-local address", scope);
	x->e.ifname = scope ? x->ifname : NULL;
	return 0;
}

static int get_int(int fd, int level, int name, int *value, struct fault *f)
{
	if (ask_number(fd, level, name, value) < 0)
		return fault(f, errno, "read option %d of level %d of a socket", name, level);
	return 0;
}

/* The options with fields of their own; absent: 0. */
static int read_ip(int fd, int family, IpOptsEntry *ip, InetSkEntry *e, struct fault *f)
{
	bool v4 = family == AF_INET;
	int freebind, info, tos = 0, ttl = 0, v6only = 0;

	if (get_int(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_FREEBIND : IPV6_FREEBIND, &freebind,
		    f) < 0 ||
	    get_int(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &info, f) < 0)
		return -1;
	if (v4 && (get_int(fd, SOL_IP, IP_TOS, &tos, f) < 0 ||
		   get_int(fd, SOL_IP, IP_TTL, &ttl, f) < 0))
		return -1;
	if (!v4 && get_int(fd, SOL_IPV6, IPV6_V6ONLY, &v6only, f) < 0)
		return -1;
	ip->has_freebind = ip->freebind = freebind != 0;
	ip->has_pktinfo = ip->pktinfo = info != 0;
	ip->has_tos = tos != 0;
	ip->tos = tos;
	ip->has_ttl = ttl != 0;
	ip->ttl = ttl;
	e->has_v6only = !v4;
	e->v6only = v6only != 0;
	return 0;
}

static int read_owner(int fd, InetSkEntry *e, struct fault *f)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fault(f, errno, "read the owner of a socket");
	e->has_uid = st.st_uid != 0;
	e->uid = st.st_uid;
	return 0;
}

int inet_learn(struct net *net, const struct sock *s, struct fault *f)
{
	inet_state(net);
	return numbers_learn(net, s, f);
}

static unsigned facts_of(const InetSkEntry *e)
{
	return (e->dst_port ? SOCK_CONNECTED : 0) | (e->opts->n_so_filter ? SOCK_FILTERED : 0);
}

int inet_read(struct net *net, struct sock *s, struct inet_entry *x, struct fault *f)
{
	struct inet_state *state = inet_state(net);
	InetSkEntry *e = &x->e;

	memset(x, 0, sizeof(*x));
	inet_sk_entry__init(e);
	ip_opts_entry__init(&x->ip);
	tcp_opts_entry__init(&x->tcp);
	sk_opts_entry__init(&x->opts);
	e->id = s->id;
	e->ino = s->ino;
	e->family = s->family;
	e->type = s->type;
	e->proto = s->protocol;
	e->flags = s->flags;
	e->has_ns_id = true;
	e->ns_id = net->ns_id;
	e->fown = &s->fown;
	e->opts = &x->opts;
	e->ip_opts = &x->ip;
	if (read_names(s, x, f) < 0 || read_owner(s->fd, e, f) < 0 ||
	    read_ip(s->fd, s->family, &x->ip, e, f) < 0 || sock_opts_read(s->fd, &x->opts, f) < 0 ||
	    numbers_read(net, s, facts_of(e), NUMBERS(e), f) < 0)
		return -1;
	return s->protocol == IPPROTO_TCP && s->type == SOCK_STREAM ? 0 :
	       multicast_read(&state->groups, s, e, f);
}

int inet_write(struct net *net, struct inet_entry *x, struct fault *f)
{
	FileEntry file = FILE_ENTRY__INIT;

	file.type = FD_TYPES__INETSK;
	file.id = x->e.id;
	file.isk = &x->e;
	return net_write_entry(net, &file, f);
}

void inet_free(struct inet_entry *x)
{
	size_t i;

	numbers_free(NUMBERS(&x->e));
	for (i = 0; i < x->e.n_member; i++)
		multicast_member__free_unpacked(x->e.member[i], NULL);
	free(x->e.member);
	free(x->tcp.congestion);
	sock_opts_free(&x->opts);
}

int inet_shutdown_of(struct net *net, const struct sock *s, uint32_t *how, struct fault *f)
{
	return udp_diag_shutdown(&inet_state(net)->diag, s, how, f);
}

/* ---- restore ---- */

int inet_check(struct net *net, struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	size_t words;

	(void)net;
	if (!e || e->id != s->id)
		return fault(f, -EBADMSG, "files.img: file %u has no internet socket entry of its "
			     "own", s->id);
	if (e->family != AF_INET && e->family != AF_INET6)
		return fault(f, -EBADMSG, "files.img: internet socket %u is of family %u", s->id,
			     e->family);
	words = e->family == AF_INET ? 1 : 4;
	if (e->n_src_addr < words || e->n_dst_addr < words)
		return fault(f, -EBADMSG, "files.img: socket %u has addresses of %zu and %zu words "
			     "instead of %zu", s->id, e->n_src_addr, e->n_dst_addr, words);
	if (e->src_port > 65535 || e->dst_port > 65535 || e->backlog > INT32_MAX ||
	    (uint32_t)e->shutdown > BOTH_WAYS)
		return fault(f, -EBADMSG, "files.img: socket %u has ports %u and %u, backlog %u, "
			     "shutdown %u", s->id, e->src_port, e->dst_port, e->backlog,
			     e->shutdown);
	if (e->ifname && !if_nametoindex(e->ifname))
		return fault(f, -ENODEV, "files.img: socket %u has an address of device %.16s, "
			     "which is not here: create the device first", s->id, e->ifname);
	s->family = e->family;
	s->type = e->type;
	s->protocol = e->proto;
	if (numbers_check(e->id, e->number, e->n_number, f) < 0)
		return -1;
	return multicast_check(e, f);
}

static int set_int(int fd, int level, int name, int value, const char *what, struct fault *f)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		return fault(f, errno, "set %s of a socket to %d", what, value);
	return 0;
}

static int apply_early(int fd, const InetSkEntry *e, struct fault *f)
{
	const IpOptsEntry *ip = e->ip_opts;
	const SkOptsEntry *o = e->opts;
	bool v4 = e->family == AF_INET;

	if (e->has_uid && fchown(fd, e->uid, -1) < 0)
		return fault(f, errno, "give a socket to uid %u", e->uid);
	if (e->has_v6only && e->type != SOCK_RAW &&
	    set_int(fd, SOL_IPV6, IPV6_V6ONLY, e->v6only, "IPV6_V6ONLY", f) < 0)
		return -1;
	if (ip && ip->freebind && set_int(fd, v4 ? SOL_IP : SOL_IPV6,
					  v4 ? IP_FREEBIND : IPV6_FREEBIND, 1, "IP_FREEBIND",
					  f) < 0)
		return -1;
	if (o->so_mark && set_int(fd, SOL_SOCKET, SO_MARK, o->so_mark, "SO_MARK", f) < 0)
		return -1;
	if (o->so_bound_dev && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->so_bound_dev,
					  strlen(o->so_bound_dev)) < 0)
		return fault(f, errno, "bind a socket to device %s", o->so_bound_dev);
	return 0;
}

/* For each port, a bit for each type of socket: is there one with SO_REUSEPORT? */
static const unsigned char *shared_ports(struct net *net)
{
	struct inet_state *state = inet_state(net);
	size_t i;

	if (state->shared)
		return state->shared;
	state->shared = xcalloc(1, UINT16_MAX + 1);
	for (i = 0; i < sock_count(net); i++) {
		const FileEntry *x = sock_at(net, i)->entry;

		if (x->type == FD_TYPES__INETSK && x->isk->opts->so_reuseport)
			state->shared[x->isk->src_port] |= 1u << x->isk->type;
	}
	return state->shared;
}

/* Of several sockets on a port some may have had SO_REUSEPORT for a moment only. */
static bool port_is_shared(struct net *net, const InetSkEntry *e)
{
	if (e->opts->so_reuseport || e->dst_port || !e->src_port)
		return e->opts->so_reuseport;
	return shared_ports(net)[e->src_port] & 1u << e->type;
}

static int share(struct net *net, struct sock *s, struct fault *f)
{
	if (port_is_shared(net, s->entry->isk) &&
	    set_int(s->fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT", f) < 0)
		return -1;
	return set_int(s->fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR", f);
}

int inet_socket(struct net *net, struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;

	s->fd = sock_open(e->family, e->type, e->proto);
	if (s->fd < 0)
		return fault(f, errno, "create it, family %u, type %u, protocol %u", e->family,
			     e->type, e->proto);
	return apply_early(s->fd, e, f) < 0 ? -1 : share(net, s, f);
}

int inet_options(struct net *net, struct sock *s, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	const IpOptsEntry *ip = e->ip_opts;
	bool v4 = e->family == AF_INET;

	if (ip && ip->pktinfo && set_int(s->fd, v4 ? SOL_IP : SOL_IPV6,
					 v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1, "IP_PKTINFO",
					 f) < 0)
		return -1;
	if (ip && ip->has_tos && v4 && set_int(s->fd, SOL_IP, IP_TOS, ip->tos, "IP_TOS", f) < 0)
		return -1;
	if (ip && ip->has_ttl && v4 && set_int(s->fd, SOL_IP, IP_TTL, ip->ttl, "IP_TTL", f) < 0)
		return -1;
	if (sock_opts_apply(s->fd, e->opts, f) < 0 ||
	    numbers_apply(s->fd, e->number, e->n_number, f) < 0 || multicast_join(s->fd, e, f) < 0)
		return -1;
	return share(net, s, f);
}

static int bind_failed(const union inet_addr *own, struct fault *f)
{
	char text[INET_ADDR_TEXT];

	inet_text(own, text);
	if (errno == EADDRNOTAVAIL)
		return fault(f, EADDRNOTAVAIL, "its address %s is not on this machine: add it to a "
			     "device first, or give --tcp-map for a TCP socket", text);
	if (errno == EADDRINUSE)
		return fault(f, EADDRINUSE, "another program holds %s: stop that first", text);
	return fault(f, errno, "bind it to %s", text);
}

/* With IP_BIND_ADDRESS_NO_PORT an address is bound without a port. */
static bool is_bound(int fd, const union inet_addr *own)
{
	static const struct in6_addr any;
	int no_port;

	if (own->sa.sa_family == AF_INET ? own->v4.sin_port : own->v6.sin6_port)
		return true;
	if (own->sa.sa_family == AF_INET ? own->v4.sin_addr.s_addr == 0 :
					   IN6_ARE_ADDR_EQUAL(&own->v6.sin6_addr, &any))
		return false;
	return ask_number(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &no_port) == 0 && no_port;
}

/* An IPv6 address may be tentative still: any is accepted for the moment of bind(). */
int inet_bind(struct sock *s, const union inet_addr *own, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	bool lift = e->family == AF_INET6 && !(e->ip_opts && e->ip_opts->freebind);

	if (!is_bound(s->fd, own))
		return 0;
	if (lift && set_int(s->fd, SOL_IPV6, IPV6_FREEBIND, 1, "IPV6_FREEBIND", f) < 0)
		return -1;
	if (bind(s->fd, &own->sa, inet_addr_len(own)) < 0)
		return bind_failed(own, f);
	return lift ? set_int(s->fd, SOL_IPV6, IPV6_FREEBIND, 0, "IPV6_FREEBIND", f) : 0;
}

int inet_connect(struct sock *s, const union inet_addr *peer, struct fault *f)
{
	char text[INET_ADDR_TEXT];

	if (connect(s->fd, &peer->sa, inet_addr_len(peer)) < 0)
		return fault(f, errno, "connect it to %s", inet_text(peer, text));
	return 0;
}

/* shutdown() does its work and complains of a socket that is not connected. */
int inet_finish(struct sock *s, struct fault *f)
{
	static const int how[] = {
		[SK_SHUTDOWN__READ] = SHUT_RD, [SK_SHUTDOWN__WRITE] = SHUT_WR,
		[BOTH_WAYS] = SHUT_RDWR,
	};
	const InetSkEntry *e = s->entry->isk;

	if (e->has_shutdown && e->shutdown && shutdown(s->fd, how[e->shutdown]) < 0 &&
	    errno != ENOTCONN)
		return fault(f, errno, "shut it down");
	return net_set_flags(s->fd, e->flags, f);
}

int inet_settle(struct net *net, struct sock *s, struct fault *f)
{
	const SkOptsEntry *o = s->entry->isk->opts;

	(void)net;
	if (!o->reuseaddr && set_int(s->fd, SOL_SOCKET, SO_REUSEADDR, 0, "SO_REUSEADDR", f) < 0)
		return -1;
	return o->so_reuseport ? 0 :
	       set_int(s->fd, SOL_SOCKET, SO_REUSEPORT, 0, "SO_REUSEPORT", f);
}
