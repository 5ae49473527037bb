/* SPDX-License-Identifier: MIT */
/*
 * unix.c - unix sockets: preflight and dump; the row of the table. unix_restore.c puts them back.
 *
 * What the kernel tells of all sockets at once (unix_diag.c) says who is connected to whom and how
 * much waits; from the socket itself come its options, its name's file and who made its other end.
 *
 * Rights:   CAP_NET_ADMIN (names' files); /proc of the tasks.
 * Holds:    the kernel's list of sockets.
 */
#include "workers/net/unix.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/plugin_dir.h"
#include "workers/common/log.h"
#include "workers/common/parallel.h"
#include "workers/common/pool.h"
#include "workers/common/procfs.h"
#include "workers/net/net.h"
#include "workers/net/numbers.h"
#include "workers/net/options.h"
#include "workers/net/queue.h"
#include "workers/net/queue_restore.h"
#include "workers/net/sock.h"
#include "workers/net/unix_diag.h"
#include "workers/net/unix_name.h"
#include "workers/net/unix_outside.h"
#include "workers/net/unix_restore.h"
#include "workers/net/unix_ways.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76			/* Linux 6.5 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83		/* Linux 6.16 */
#endif

#define MAX_READS 2
#define MANY 256			/* unix sockets: rings to ask them pay */

/* What a socket itself tells; read by several threads. */
struct unix_facts {
	SkOptsEntry opts;
	struct ucred cred;		/* SO_PEERCRED */
	int peek_off;			/* SO_PEEK_OFF; -1: off */
	bool passpidfd, refuses_rights;
	SocketNumber **number;
	size_t n_number;
};

struct unix_dump {
	struct unix_diag *diag;
	struct pool facts;
	struct asking *asking;		/* NULL: they are few */
	unsigned reads;			/* how often the list was read */
	size_t seen;			/* sockets of the worker whose queues are known */
	bool no_reuseport;
};

static bool match_unix(const struct sock *s)
{
	return s->family == AF_UNIX;
}

/* Attach a socket to its record in a newer list; a preflight's may be gone. */
static void move_rec(const struct unix_diag *d, struct sock *s)
{
	struct unix_rec *old = s->priv, *r = unix_diag_find(d, s->ino);

	s->priv = r;
	if (!r)
		return;
	r->facts = old ? take_ptr(&old->facts) : NULL;
	r->s = s;
}

/*
 * A list that lacks a socket of which more is known already is of no use: the table changed
 * meanwhile.
 */
static int check_list(const struct net *net, const struct unix_diag *d, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	size_t i;

	for (i = 0; i < sock_count(net); i++) {
		const struct sock *s = sock_at(net, i);
		const struct unix_rec *r = s->kind == &unix_kind ? s->priv : NULL;

		if (r && r->facts && !unix_diag_find(d, s->ino))
			return fault(f, -EAGAIN, "%s: the kernel does not list it any more: dump "
				     "again", sock_name(s, who, sizeof(who)));
	}
	return 0;
}

/*
 * The kernel's record of a socket. The list is read when one is not in it; then once again. A
 * preflight (which knows no ids) is content with peers.
 */
static struct unix_rec *find_rec(struct net *net, const struct sock *of, struct fault *f)
{
	struct unix_dump *d = net->unix_dump;
	struct unix_diag *old;
	struct unix_rec *r;
	size_t i;

	if (!d)
		d = net->unix_dump = xcalloc(1, sizeof(*d));
	r = of->priv || !d->diag ? of->priv : unix_diag_find(d->diag, of->ino);
	if (r || d->reads == MAX_READS)
		return r;
	d->reads++;
	old = d->diag;
	d->diag = unix_diag_read(of->id, f);
	if (!d->diag || check_list(net, d->diag, f) < 0) {
		unix_diag_free(d->diag);
		d->diag = old;
		return NULL;
	}
	for (i = 0; i < sock_count(net); i++)
		if (sock_at(net, i)->kind == &unix_kind)
			move_rec(d->diag, sock_at(net, i));
	unix_diag_free(old);
	return unix_diag_find(d->diag, of->ino);
}

static bool know_unix(struct net *net, struct sock *s)
{
	struct fault none = { 0 };
	const struct unix_dump *d = net->unix_dump;
	struct unix_rec *r = d && d->diag ? unix_diag_find(d->diag, s->ino) :
					    find_rec(net, s, &none);

	if (!r)
		return false;
	s->priv = r;
	s->family = AF_UNIX;
	s->type = r->type;
	return true;
}

static int preflight_unix(struct net *net, struct sock *s, struct fault *f)
{
	const struct unix_rec *r = find_rec(net, s, f);

	if (!r)
		return f->code ? -1 : 0;
	if (!r->peer || net_sock_by_ino(net, r->peer) || !outsider_is_held(net, r->peer))
		return 0;
	/* A plugin may know the peer, which it is asked when the tree stands. */
	return plugin_dir_any(net_opts(net)) ? 0 :
	       outsider_allow(net, s, r, unix_diag_find(net->unix_dump->diag, r->peer), f);
}

/* ---- dump ---- */

static int collect_unix(struct net *net, struct sock *s, struct fault *f)
{
	struct unix_rec *r = find_rec(net, s, f);
	char who[SOCK_NAME_MAX];

	if (!r)
		return fault(f, -ESTALE, "%s: the kernel does not list it; is it of another "
			     "network namespace?", sock_name(s, who, sizeof(who)));
	r->s = s;
	s->priv = r;
	r->facts = pool_take(&net->unix_dump->facts, sizeof(*r->facts));
	return numbers_learn(net, s, f);
}

/* Options that this kernel lacks are as they were. */
static int read_facts(void *ctx, size_t i, struct fault *f)
{
	struct net *net = ctx;
	const struct unix_dump *d = net->unix_dump;
	const struct sock *s = sock_at(net, d->seen + i);
	const struct unix_rec *r = s->priv;
	struct unix_facts *facts;
	struct sock_questions q;
	struct question *own;
	struct sock_hints hints;
	int passpidfd = 0, passrights = 1;

	if (s->kind != &unix_kind)
		return 0;
	facts = r->facts;
	hints = (struct sock_hints){ r->sndbuf, r->rcvbuf, d->no_reuseport, r->no_filter };
	sock_opts_ask(&q, &hints);
	own = &q.list[q.n];
	own[0] = (struct question){ SOL_SOCKET, SO_PEERCRED, &facts->cred, sizeof(facts->cred), 0 };
	own[1] = (struct question){ SOL_SOCKET, SO_PASSPIDFD, &passpidfd, sizeof(int), 0 };
	own[2] = (struct question){ SOL_SOCKET, SO_PASSRIGHTS, &passrights, sizeof(int), 0 };
	ask_all(d->asking, s->fd, q.list, q.n + 3);
	if (own[0].got < 0)
		return fault(f, -own[0].got, "read who made the peer of a socket");
	facts->passpidfd = own[1].got >= 0 && passpidfd;
	facts->refuses_rights = own[2].got >= 0 && !passrights;
	if (sock_opts_take(&q, s->fd, &hints, &facts->opts, f) < 0)
		return -1;
	return numbers_read(net, s, facts->opts.n_so_filter ? SOCK_FILTERED : 0, NUMBERS(facts), f);
}

/* By the thread that moves the offset. Seqpackets that are not connected have no queue. */
static int collect_queue(struct net *net, struct sock *s, struct fault *f)
{
	const struct unix_rec *r = s->priv;
	struct waiting w = { r->waiting, r->shutdown & 1, -1 };

	if (ask_number(s->fd, SOL_SOCKET, SO_PEEK_OFF, &w.peek_off) < 0)
		w.peek_off = -1;
	r->facts->peek_off = w.peek_off;
	if (r->state == UNIX_LISTEN || (r->type == SOCK_SEQPACKET && r->state != UNIX_ESTABLISHED))
		return 0;
	return queue_collect(net, s, &w, f);
}

static int collect_queues(struct net *net, struct fault *f)
{
	size_t i;

	for (i = net->unix_dump->seen; i < sock_count(net); i++)
		if (sock_at(net, i)->kind == &unix_kind &&
		    collect_queue(net, sock_at(net, i), f) < 0)
			return -1;
	return 0;
}

/* Has no unix socket SO_REUSEPORT, because the kernel (since 6.13) does not let one have it? */
static bool refuses_reuseport(void)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 &&
	       errno == EOPNOTSUPP;
}

/* Of this round. */
static bool are_many(const struct net *net)
{
	size_t i, n = 0;

	for (i = net->unix_dump->seen; i < sock_count(net); i++)
		n += sock_at(net, i)->kind == &unix_kind;
	return n > MANY;
}

/* The sockets of this round: their queues; others read options meanwhile. */
static int collected_unix(struct net *net, struct fault *f)
{
	struct unix_dump *d = net->unix_dump;
	struct parallel *p;
	int r;

	if (!d)
		return 0;
	d->no_reuseport = refuses_reuseport();
	if (!d->asking && are_many(net))
		d->asking = asking_new();
	p = parallel_start(sock_count(net) - d->seen, read_facts, net);
	r = collect_queues(net, f);
	if (parallel_join(p, f) < 0)
		r = -1;
	d->seen = sock_count(net);
	return r;
}

static SkUcredEntry *new_cred(pid_t pid, uid_t uid, gid_t gid)
{
	SkUcredEntry *c = xcalloc(1, sizeof(*c));

	sk_ucred_entry__init(c);
	c->pid = pid;
	c->uid = uid;
	c->gid = gid;
	return c;
}

/* A connection not accepted yet: its peer is the listening socket. */
static int describe_waiting(const struct sock *s, const struct unix_rec *r, UnixSkEntry *e,
			    struct fault *f)
{
	struct proc_status status = { 0 };
	char who[SOCK_NAME_MAX];

	if (!r->listener->s)
		return fault(f, -ENOTSUP, "%s: its connection to a socket outside the tree is not "
			     "accepted yet: dump again when it is", sock_name(s, who, sizeof(who)));
	if (r->room)
		return fault(f, -EAGAIN, "%s: it sent data before its connection was accepted, "
			     "which cannot be seen: dump again when socket %u has accepted it",
			     sock_name(s, who, sizeof(who)), r->listener->ino);
	e->peer = r->listener->ino;
	if (procfs_status(s->pid, 0, &status, f) < 0)
		return -1;
	e->connector = new_cred(s->pid, status.uid[1], status.gid[1]);
	proc_status_free(&status);
	return 0;
}

static int describe_listening(const struct net *net, const struct sock *s, const struct unix_rec *r,
			      UnixSkEntry *e, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	const struct unix_rec *icon;
	uint32_t i;

	e->pending = xcalloc(r->nicons, sizeof(*e->pending));
	for (i = 0; i < r->nicons; i++) {
		icon = unix_diag_find(net->unix_dump->diag, r->icons[i]);
		if (!r->icons[i])
			return fault(f, -EAGAIN, "%s: a connection to it was closed before it was "
				     "accepted, which cannot be restored: dump again when it has "
				     "been accepted", sock_name(s, who, sizeof(who)));
		if (icon && icon->s)
			e->pending[e->n_pending++] = r->icons[i];
		else
			log_warnx("%s: a connection from outside the tree is lost",
				  sock_name(s, who, sizeof(who)));
	}
	return 0;
}

static bool has_peer_outside(const struct unix_rec *r)
{
	return !r->listener && r->state != UNIX_LISTEN && r->peer && (!r->other || !r->other->s);
}

static int describe_peer(const struct net *net, const struct sock *s, const struct unix_rec *r,
			 UnixSkEntry *e, struct fault *f)
{
	struct pollfd p = { .fd = s->fd };

	e->peer = r->peer;
	if (r->listener)
		return describe_waiting(s, r, e, f);
	if (r->state == UNIX_LISTEN)
		return describe_listening(net, s, r, e, f);
	if (has_peer_outside(r)) {
		if (outsider_is_taken(net, r->ino))
			e->uflags |= UNIX_PLUGIN;
		return outsider_allow(net, s, r, r->other, f);
	}
	/* Its peer was closed. */
	if (!r->peer && r->state == UNIX_ESTABLISHED && r->type != SOCK_DGRAM)
		e->has_reset = e->reset = poll(&p, 1, 0) == 1 && p.revents & POLLERR;
	return 0;
}

/* What CRIU's entry has no place for. */
static void describe_rest(const struct unix_facts *facts, UnixSkEntry *e)
{
	if (facts->cred.pid > 0)
		e->peercred = new_cred(facts->cred.pid, facts->cred.uid, facts->cred.gid);
	if (facts->peek_off >= 0) {
		e->has_peek_off = true;
		e->peek_off = facts->peek_off;
	}
	e->number = facts->number;
	e->n_number = facts->n_number;
	e->has_passpidfd = e->passpidfd = facts->passpidfd;
	e->has_refuses_rights = e->refuses_rights = facts->refuses_rights;
}

size_t unix_outside(struct net *net, OutsidePeer ***list)
{
	size_t i, n = 0, cap = 0;

	*list = NULL;
	for (i = 0; i < sock_count(net); i++) {
		const struct sock *s = sock_at(net, i);
		OutsidePeer *p;

		if (s->family != AF_UNIX || !s->priv || !has_peer_outside(s->priv))
			continue;
		p = xcalloc(1, sizeof(*p));
		outside_peer__init(p);
		p->ino = s->ino;
		p->fd = s->fd;
		*(OutsidePeer **)grow(list, n++, &cap, sizeof(p)) = p;
	}
	return n;
}

static int write_entry(struct net *net, UnixSkEntry *e, struct fault *f)
{
	FileEntry file = FILE_ENTRY__INIT;

	file.type = FD_TYPES__UNIXSK;
	file.id = e->id;
	file.usk = e;
	return net_write_entry(net, &file, f);
}

/* The peer outside, once: what a restore connects to. */
static int write_outside(struct net *net, struct unix_rec *r, struct fault *f)
{
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FownEntry fown = FOWN_ENTRY__INIT;

	if (r->outside_id)
		return 0;
	e.id = r->outside_id = net_new_id(net);
	e.ino = r->ino;
	e.type = SOCK_DGRAM;
	e.state = UNIX_LISTEN;
	e.uflags = UNIX_EXTERNAL;
	e.name.data = (uint8_t *)r->name;
	e.name.len = r->name_len;
	e.fown = &fown;
	e.opts = &opts;
	return write_entry(net, &e, f);
}

static struct unix_rec *peer_of(const struct unix_rec *r)
{
	return r->listener ? r->listener : r->other;
}

static int write_one(struct net *net, struct sock *s, struct fault *f)
{
	struct unix_rec *r = s->priv;
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	int ok;

	e.id = s->id;
	e.ino = s->ino;
	e.type = r->type;
	e.state = r->state;
	e.flags = s->flags;
	e.backlog = r->room;
	e.fown = &s->fown;
	e.opts = &r->facts->opts;
	e.name.data = (uint8_t *)r->name;
	e.name.len = r->name_len;
	e.has_shutdown = r->shutdown != 0;
	e.shutdown = r->shutdown;
	e.has_ns_id = true;
	e.ns_id = net->ns_id;
	ok = (unix_name_is_path(&e) ? unix_name_read(s, &e, f) : 0) == 0 &&
	     describe_peer(net, s, r, &e, f) == 0;
	if (ok) {
		describe_rest(r->facts, &e);
		ok = write_entry(net, &e, f) == 0;
	}
	unix_name_free(&e);
	free(e.peercred);
	free(e.connector);
	free(e.pending);
	return ok ? 0 : -1;
}

/* CRIU finds a peer only when it comes first; datagram sockets may be a long chain. */
static int write_unix(struct net *net, struct sock *s, struct fault *f)
{
	AUTO_FREE struct sock **chain = NULL;
	struct unix_rec *peer;
	size_t n = 0, cap = 0;
	int r = 0;

	for (; s && !s->written; s = peer ? peer->s : NULL) {
		s->written = true;
		*(struct sock **)grow(&chain, n++, &cap, sizeof(s)) = s;
		peer = peer_of(s->priv);
		if (peer && !peer->s)
			r = write_outside(net, peer, f);
	}
	while (r == 0 && n)
		r = write_one(net, chain[--n], f);
	return r;
}

static void end_unix(struct net *net, bool run_on)
{
	struct unix_dump *d = net->unix_dump;
	size_t i;

	(void)run_on;
	queue_end(net);
	queue_restore_end(net);
	unix_restore_end(net);
	outsiders_end(net);
	if (!d)
		return;
	for (i = 0; i < sock_count(net); i++) {
		const struct sock *s = sock_at(net, i);
		const struct unix_rec *r = s->kind == &unix_kind ? s->priv : NULL;

		if (r && r->facts) {
			sock_opts_free(&r->facts->opts);
			numbers_free(NUMBERS(r->facts));
		}
	}
	pool_free(&d->facts);
	if (d->asking)
		log_debug("options of unix sockets were asked by %s",
			  ask_by_rings(d->asking) ? "rings" : "calls");
	asking_free(d->asking);
	unix_diag_free(d->diag);
	free(d);
	net->unix_dump = NULL;
}

const struct sock_kind unix_kind = {
	.name = "unix socket",
	.type = FD_TYPES__UNIXSK,
	.knows = know_unix,
	.match = match_unix,
	.preflight = preflight_unix,
	.collect = collect_unix,
	.collected = collected_unix,
	.write = write_unix,
	.written = queue_written,
	.check = unix_check,
	.prepare = unix_prepare,
	.create = unix_create,
	.fill = unix_fill,
	.end = end_unix,
};
