/* SPDX-License-Identifier: MIT */
/*
 * tcp.c - TCP sockets, both directions: without connection, listening, connected.
 *
 * Dump:     the packets of all connections are dropped from here on (netlock.c). Each is in repair
 *           mode (tcprepair/) for the moment in which it is read: should we be killed, the task
 *           runs at once and would fail to read and write. When the tasks are dead it goes into
 *           repair mode again, in which the socket can be closed without the peer's notice.
 * Restore:  connections are made in repair mode; the last step lifts the lock and ends repair mode.
 *
 * Rights:   CAP_NET_ADMIN, CAP_NET_RAW.
 * Holds:    restore: the paused connections.
 */
#include "workers/net/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/parallel.h"
#include "workers/net/asking.h"
#include "workers/net/guard.h"
#include "workers/net/inet.h"
#include "workers/net/net.h"
#include "workers/net/netlock.h"
#include "workers/net/sock.h"
#include "workers/net/tcp_map.h"
#include "workers/net/tcp_options.h"
#include "workers/net/tcp_stream.h"

struct tcp {
	struct tcp_info info;
	union inet_addr own, peer;
	bool live;			/* a connection that is not closed */
	bool keep;			/* is to be paused and saved (restored) */
	bool locked;			/* dump: its packets are dropped */
	int undo;			/* dump: the guard's action */
	struct tcprepair *paused;	/* restore: until the end */
	struct tcprepair_state saved;	/* restore: from the image */
};

static bool is_tcp(uint32_t family, uint32_t type, uint32_t protocol)
{
	return (family == AF_INET || family == AF_INET6) && type == SOCK_STREAM &&
	       (protocol == IPPROTO_TCP || protocol == IPPROTO_IP);
}

static bool match_tcp(const struct sock *s)
{
	return is_tcp(s->family, s->type, s->protocol);
}

static bool has_peer(const union inet_addr *peer)
{
	return peer->sa.sa_family != AF_UNSPEC;
}

static int get_int(int fd, int level, int name)
{
	int value;

	return ask_number(fd, level, name, &value) < 0 ? -1 : value;
}

/* ---- dump ---- */

static int look_at(const struct sock *s, struct tcp *t, struct fault *f)
{
	socklen_t len = sizeof(t->info);

	memset(t, 0, sizeof(*t));
	if (getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &t->info, &len) < 0)
		return fault(f, errno, "read TCP_INFO");
	t->live = t->info.tcpi_state != TCP_LISTEN && t->info.tcpi_state != TCP_CLOSE;
	return inet_names(s->fd, s->family, &t->own, &t->peer, f);
}

/* What stands in the way of keeping a connection. */
static int check_connection(const struct net *net, const struct sock *s, const struct tcp *t,
			    struct fault *f)
{
	const Options *o = net_opts(net);
	char own[INET_ADDR_TEXT], peer[INET_ADDR_TEXT], ulp[32] = "";
	socklen_t len = sizeof(ulp) - 1;

	if (!t->live || o->tcp_close)
		return 0;
	inet_text(&t->own, own);
	inet_text(&t->peer, peer);
	if (!o->tcp_established)
		return fault(f, -EBUSY, "a connection, %s to %s: give --tcp-established to keep "
			     "it, or --tcp-close to lose it", own, peer);
	if (!getsockopt(s->fd, IPPROTO_TCP, TCP_ULP, ulp, &len) && ulp[0])
		return fault(f, -EOPNOTSUPP, "the connection %s to %s passes through the kernel's "
			     "'%.16s' layer, whose keys cannot be read: close it or turn that "
			     "layer off", own, peer, ulp);
	return 0;
}

/*
 * Waiting to be accepted: nobody can put it into the queue of another listener. Not asked before
 * the freeze, when it is about to be accepted.
 */
static int check_listener(const struct net *net, const struct tcp *t, struct fault *f)
{
	char own[INET_ADDR_TEXT];

	if (t->info.tcpi_state != TCP_LISTEN || !t->info.tcpi_unacked ||
	    net_opts(net)->skip_in_flight)
		return 0;
	return fault(f, -EAGAIN, "%u connections to %s are not accepted yet: give --skip-in-flight "
		     "to lose them, or try again", t->info.tcpi_unacked, inet_text(&t->own, own));
}

static int prefixed(const struct sock *s, struct fault *f)
{
	char who[SOCK_NAME_MAX];

	return fault_prefix(f, "%s", sock_name(s, who, sizeof(who)));
}

static int preflight_tcp(struct net *net, struct sock *s, struct fault *f)
{
	struct tcp t;

	if (look_at(s, &t, f) < 0 || check_connection(net, s, &t, f) < 0)
		return prefixed(s, f);
	return 0;
}

static void describe_tcp(const struct net *net, const struct sock *s, char *deed, size_t size)
{
	char own[INET_ADDR_TEXT], peer[INET_ADDR_TEXT];
	struct fault gone = { 0 };
	struct tcp t;

	if (look_at(s, &t, &gone) < 0 || (!t.live && t.info.tcpi_state != TCP_LISTEN)) {
		snprintf(deed, size, "created again");
		return;
	}
	inet_text(&t.own, own);
	if (!t.live)
		snprintf(deed, size, "listens at %s again", own);
	else
		snprintf(deed, size, "connection %s to %s %s", own, inet_text(&t.peer, peer),
			 net_opts(net)->tcp_close ? "comes back closed" : "goes on");
}

static int collect_tcp(struct net *net, struct sock *s, struct fault *f)
{
	struct tcp *t = xcalloc(1, sizeof(*t));

	s->priv = t;
	if (look_at(s, t, f) < 0 || check_connection(net, s, t, f) < 0 ||
	    check_listener(net, t, f) < 0)
		return prefixed(s, f);
	t->keep = has_peer(&t->peer) && t->info.tcpi_state != TCP_LISTEN &&
		  !net_opts(net)->tcp_close;
	return 0;
}

/* Before any of their state is read. Closed ones have no packets. */
static int collected_tcp(struct net *net, struct fault *f)
{
	AUTO_FREE struct netlock_connection *c = xcalloc(sock_count(net), sizeof(*c));
	size_t i, n = 0;

	for (i = 0; i < sock_count(net); i++) {
		struct sock *s = sock_at(net, i);
		struct tcp *t = s->kind == &tcp_kind ? s->priv : NULL;

		if (!t || !t->keep || !t->live || t->locked)
			continue;
		c[n++] = (struct netlock_connection){ t->own, t->peer };
		t->locked = true;
	}
	return n ? netlock_block(net, c, n, f) : 0;
}

/* Runs in the guard. */
static void end_repair(int fd, uint64_t arg)
{
	int off = TCP_REPAIR_OFF_NO_WP, reuse = arg & 1, peek_off = (int)(arg >> 32);

	setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	if (peek_off >= 0)
		setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek_off, sizeof(peek_off));
}

/* Returns the guard's action. */
static int guard_one(struct net *net, struct sock *s, struct fault *f)
{
	uint32_t peek_off = get_int(s->fd, SOL_SOCKET, SO_PEEK_OFF);
	bool reuse = get_int(s->fd, SOL_SOCKET, SO_REUSEADDR) > 0;
	struct tcp *t = s->priv;

	if (!t->keep)
		return 0;
	t->undo = guard_add(net, s->fd, end_repair, (uint64_t)peek_off << 32 | reuse, f);
	return t->undo < 0 ? -1 : 0;
}

static int unguard_one(struct net *net, struct sock *s, struct fault *f)
{
	const struct tcp *t = s->priv;

	(void)f;
	if (t->keep)
		guard_drop(net, t->undo);
	return 0;
}

static int read_in_repair(int fd, struct tcprepair_state *state, struct fault *f)
{
	struct tcprepair *paused;
	int r;

	if (tcprepair_pause(fd, &paused, f) < 0)
		return -1;
	r = tcprepair_save(paused, state, f);
	return tcprepair_cancel(paused, f) < 0 ? -1 : r;
}

static int read_connection(struct net *net, const struct sock *s, struct tcprepair_state *state,
			   struct fault *f)
{
	const struct tcp *t = s->priv;
	int r;

	guard_hot(net, t->undo, true);
	r = read_in_repair(s->fd, state, f);
	if (r == 0)
		guard_hot(net, t->undo, false);
	return r;
}

static int save(struct net *net, const struct sock *s, InetSkEntry *e, struct fault *f)
{
	struct tcprepair_state state = { 0 };
	int r = read_connection(net, s, &state, f);

	if (r == 0) {
		e->state = state.state;
		r = tcp_stream_write(net, s->ino, &state, f);
	}
	tcprepair_clear(&state);
	return r;
}

/* Which directions the program has shut down; the other one of a connection is in its state. */
static void read_shutdown(const struct sock *s, InetSkEntry *e)
{
	struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };

	e->has_shutdown = poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP);
	e->shutdown = e->has_shutdown ? SK_SHUTDOWN__READ : SK_SHUTDOWN__NONE;
}

/* What is read by several threads. */
struct reading {
	struct net *net;
	struct sock **sock;
	struct inet_entry *entry;
	size_t n;
};

static int read_one(void *ctx, size_t i, struct fault *f)
{
	const struct reading *all = ctx;
	struct sock *s = all->sock[i];
	struct inet_entry *x = &all->entry[i];
	const struct tcp *t = s->priv;

	if (inet_read(all->net, s, x, f) < 0 || tcp_options_read(all->net, s, &t->info, x, f) < 0)
		return prefixed(s, f);
	x->e.state = t->info.tcpi_state;
	if (x->e.state == TCP_LISTEN)
		x->e.backlog = t->info.tcpi_sacked;
	else
		read_shutdown(s, &x->e);
	if (t->keep && save(all->net, s, &x->e, f) < 0)
		return prefixed(s, f);
	return 0;
}

/* What threads share is learnt before. */
static int list_all(struct reading *all, struct fault *f)
{
	struct net *net = all->net;
	size_t i;

	all->sock = xcalloc(sock_count(net), sizeof(*all->sock));
	all->entry = xcalloc(sock_count(net), sizeof(*all->entry));
	for (i = 0; i < sock_count(net); i++) {
		struct sock *s = sock_at(net, i);

		if (s->kind != &tcp_kind)
			continue;
		all->sock[all->n++] = s;
		if (inet_learn(net, s, f) < 0 || tcp_options_learn(net, f) < 0 ||
		    guard_one(net, s, f) < 0)
			return prefixed(s, f);
	}
	return 0;
}

/* A connection takes a hundred system calls, most of them cheap; each is of its own socket. */
static int write_all_tcp(struct net *net, struct fault *f)
{
	struct reading all = { .net = net };
	int r = list_all(&all, f);
	size_t i;

	if (r == 0)
		r = parallel_join(parallel_start(all.n, read_one, &all), f);
	for (i = 0; i < all.n; i++) {
		if (r == 0)
			r = unguard_one(net, all.sock[i], f);
		if (r == 0)
			r = inet_write(net, &all.entry[i], f);
		inet_free(&all.entry[i]);
	}
	free(all.sock);
	free(all.entry);
	return r;
}

/* Runs in the guard. */
static void begin_repair(int fd, uint64_t arg)
{
	int on = TCP_REPAIR_ON;

	(void)arg;
	setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
}

static int doom_one(struct net *net, struct sock *s, struct fault *f)
{
	const struct tcp *t = s->priv;

	return t->keep ? guard_add_dead(net, s->fd, begin_repair, 0, f) : 0;
}

static int doom_tcp(struct net *net, struct fault *f)
{
	return net_each_sock(net, &tcp_kind, doom_one, f);
}

/* ---- restore ---- */

static bool match_entry(const FileEntry *e)
{
	return e->isk && is_tcp(e->isk->family, e->isk->type, e->isk->proto);
}

static int read_stream(struct net *net, struct sock *s, struct tcp *t, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;
	int r = tcp_stream_read(net, e->ino, &t->saved, f);

	if (r < 0)
		return -1;
	if (!r && e->state == TCP_CLOSE)
		return 0;
	if (!r)
		return fault(f, -ENOENT, "files.img: TCP connection %u was not saved (dumped with "
			     "--tcp-close): give --tcp-close", s->id);
	t->keep = true;
	t->saved.state = e->state;
	memcpy(&t->saved.local, &t->own, sizeof(t->own));
	memcpy(&t->saved.peer, &t->peer, sizeof(t->peer));
	return tcprepair_check(&t->saved, f);
}

static int check_tcp(struct net *net, struct sock *s, struct fault *f)
{
	const Options *o = net_opts(net);
	struct tcp *t = xcalloc(1, sizeof(*t));
	const InetSkEntry *e;

	s->priv = t;
	if (inet_check(net, s, f) < 0)
		return -1;
	e = s->entry->isk;
	inet_own(e, &t->own);
	inet_peer(e, &t->peer);
	if (e->dst_port == 0 && e->state != TCP_CLOSE && e->state != TCP_LISTEN)
		return fault(f, -EBADMSG, "files.img: TCP socket %u has state %u and no peer",
			     s->id, e->state);
	if (e->dst_port == 0 || e->state == TCP_LISTEN || o->tcp_close)
		return 0;
	if (!o->tcp_established && e->state != TCP_CLOSE)
		return fault(f, -EBUSY, "files.img: TCP socket %u is connected: give "
			     "--tcp-established to keep the connection, or --tcp-close to lose it",
			     s->id);
	return read_stream(net, s, t, f);
}

/* CRIU locks connections that are closed as well. */
static void expect_lock(struct net *net)
{
	AUTO_FREE struct netlock_connection *c = xcalloc(sock_count(net), sizeof(*c));
	size_t i, n = 0;

	for (i = 0; i < sock_count(net); i++) {
		const struct sock *s = sock_at(net, i);
		const struct tcp *t = s->kind == &tcp_kind ? s->priv : NULL;

		if (t && t->keep)
			c[n++] = (struct netlock_connection){ t->own, t->peer };
	}
	netlock_expect(net, c, n);
}

static int prepare_tcp(struct net *net, struct fault *f)
{
	if (net->lock_method == NETLOCK_IPTABLES)
		expect_lock(net);
	return tcp_map_check(net_opts(net), f);
}

static void map_end(void *ctx, bool local, union tcprepair_addr *addr)
{
	(void)local;
	tcp_map(net_opts(ctx), &addr->sa);
}

static int make_connection(struct net *net, struct sock *s, struct tcp *t, struct fault *f)
{
	const struct tcprepair_how how = { .map = map_end, .ctx = net };

	if (tcprepair_pause(s->fd, &t->paused, f) < 0 ||
	    tcprepair_restore(t->paused, &t->saved, &how, f) < 0)
		return -1;
	tcprepair_clear(&t->saved);
	return 0;
}

/* Not bound to its port when it was connected and is to come back closed. */
static int make_idle(struct net *net, struct sock *s, struct tcp *t, struct fault *f)
{
	const InetSkEntry *e = s->entry->isk;

	if (e->dst_port && e->state != TCP_LISTEN) {
		if (shutdown(s->fd, SHUT_RDWR) < 0 && errno != ENOTCONN)
			return fault(f, errno, "shut it down");
		return 0;
	}
	tcp_map(net_opts(net), &t->own.sa);
	if (inet_bind(s, &t->own, f) < 0)
		return -1;
	if (e->state == TCP_LISTEN && listen(s->fd, e->backlog) < 0)
		return fault(f, errno, "listen, with a backlog of %u", e->backlog);
	return 0;
}

/* Options of a connection come after it, so that no data moves and no size is lost. */
static enum sock_created create_tcp(struct net *net, struct sock *s, struct fault *f)
{
	struct tcp *t = s->priv;

	if (inet_socket(net, s, f) < 0 || (t->keep && make_connection(net, s, t, f) < 0) ||
	    inet_options(net, s, f) < 0 || tcp_options_apply(s, f) < 0 ||
	    (!t->keep && make_idle(net, s, t, f) < 0) || inet_finish(s, f) < 0)
		return SOCK_FAILED;
	return SOCK_CREATED;
}

static int settle_one(struct net *net, struct sock *s, struct fault *f)
{
	const struct tcp *t = s->priv;

	return t->paused ? 0 : inet_settle(net, s, f);
}

static int settle_tcp(struct net *net, struct fault *f)
{
	return net_each_sock(net, &tcp_kind, settle_one, f);
}

/* ---- the end ---- */

static int release_one(struct net *net, struct sock *s, struct fault *f)
{
	struct tcp *t = s->priv;

	(void)net;
	(void)f;
	if (!t)
		return 0;
	tcprepair_release(t->paused);
	tcprepair_clear(&t->saved);
	free(t);
	s->priv = NULL;
	return 0;
}

static int resume_one(struct net *net, struct sock *s, struct fault *f)
{
	struct tcp *t = s->priv;
	struct fault why = { 0 };

	(void)f;
	if (!t || !t->paused)
		return 0;
	if (tcprepair_resume(take_ptr(&t->paused), &why) < 0 ||
	    (s->entry && inet_settle(net, s, &why) < 0))
		log_warnx("a connection may stand still: %s", why.text);
	return 0;
}

/* Dump: the tasks are dead, the socket is about to be closed by us, who hold it last. */
static int silence_one(struct net *net, struct sock *s, struct fault *f)
{
	const struct tcp *t = s->priv;
	int on = TCP_REPAIR_ON;

	(void)net;
	(void)f;
	if (t && t->keep && setsockopt(s->fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		log_warnx("a connection's peer may notice that it is closed");
	return 0;
}

/* The lock first: ending repair mode sends a packet. */
static void end_tcp(struct net *net, bool run_on)
{
	struct fault f = { 0 };
	bool locked = net->tasks ? net->lock_method == NETLOCK_NFTABLES :
				   netlock_used(net) == NETLOCK_NFTABLES;

	if (run_on && locked)
		netlock_lift(net);
	if (run_on)
		net_each_sock(net, &tcp_kind, resume_one, &f);
	else if (!net->tasks)
		net_each_sock(net, &tcp_kind, silence_one, &f);
	net_each_sock(net, &tcp_kind, release_one, &f);
	netlock_end(net);
	inet_end(net);
}

const struct sock_kind tcp_kind = {
	.name = "TCP socket",
	.type = FD_TYPES__INETSK,
	.describe = describe_tcp,
	.match = match_tcp,
	.preflight = preflight_tcp,
	.collect = collect_tcp,
	.collected = collected_tcp,
	.written = write_all_tcp,
	.doom = doom_tcp,
	.match_entry = match_entry,
	.check = check_tcp,
	.prepare = prepare_tcp,
	.create = create_tcp,
	.fill = settle_tcp,
	.end = end_tcp,
};
