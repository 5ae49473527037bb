/* SPDX-License-Identifier: MIT */
/*
 * unix_fill.c - unix sockets: the restore, from where every socket exists.
 *
 * Queues are filled first: once a datagram socket is connected only its peer may send to it; after
 * a shutdown nobody may; options decide what is delivered. Then peers that are gone go, datagram
 * sockets connect, and last come options, shutdown and flags.
 *
 * Rights:   see queue_restore.c, options.c.
 * Holds:    nothing; struct unix_restore.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/net/net.h"
#include "workers/net/numbers.h"
#include "workers/net/options.h"
#include "workers/net/queue_restore.h"
#include "workers/net/unix.h"
#include "workers/net/unix_restore.h"

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76			/* Linux 6.5 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83		/* Linux 6.16 */
#endif

/* ---- queues ---- */

static int compare_names(const uint8_t *a, size_t na, const uint8_t *b, size_t nb)
{
	const int r = memcmp(a, b, na < nb ? na : nb);

	return r ? r : na < nb ? -1 : na > nb;
}

static int by_name(const void *a, const void *b)
{
	const UnixSkEntry *x = (*(struct usk *const *)a)->e, *y = (*(struct usk *const *)b)->e;

	return compare_names(x->name.data, x->name.len, y->name.data, y->name.len);
}

static void index_names(struct unix_restore *r)
{
	size_t i;

	r->named = xcalloc(r->n, sizeof(*r->named));
	for (i = 0; i < r->n; i++)
		if (usk_is_dgram(r->list[i]) && r->list[i]->e->name.len && r->list[i]->s->fd >= 0)
			r->named[r->nnamed++] = r->list[i];
	if (r->nnamed)
		qsort(r->named, r->nnamed, sizeof(*r->named), by_name);
}

static struct usk *find_named(const struct unix_restore *r, const ProtobufCBinaryData *name)
{
	size_t low = 0, high = r->nnamed;

	while (low < high) {
		const size_t middle = (low + high) / 2;
		struct usk *u = r->named[middle];
		const int c = compare_names(name->data, name->len, u->e->name.data, u->e->name.len);

		if (!c)
			return u;
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* A socket with the name of a sender that is gone, or without one. The caller's. */
static int passing_sender(struct unix_restore *r, const SkPacketEntry *p, struct fault *f)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	struct fault why = { 0 };

	e.name = p->addr;
	if (fd < 0)
		return fault(f, errno, "make a socket to send with");
	if (p->has_addr && unix_name_bind(r->places, fd, &e, true, &why) < 0)
		log_warnx("a message for socket %u loses its sender's name: %s", p->id_for,
			  why.text);
	return take_fd(&fd);
}

/* Send to a named datagram socket as whoever sent it. */
static int send_by_name(struct net *net, struct usk *u, const struct queued *q, struct fault *f)
{
	struct unix_restore *r = net->unix_restore;
	struct usk *sender = q->entry->has_addr ? find_named(r, &q->entry->addr) : NULL;
	AUTO_CLOSE int passing = -1, via = -1;
	struct sockaddr_un addr;
	socklen_t len;
	int fd, sent;

	if (unix_name_address(u->s->fd, u->e, &addr, &len, &via, f) < 0)
		return -1;
	if (sender)
		fd = sender->s->fd;
	else if (q->entry->has_addr)
		fd = passing = passing_sender(r, q->entry, f);
	else
		fd = r->anonymous = r->anonymous >= 0 ? r->anonymous :
							passing_sender(r, q->entry, f);
	if (fd < 0)
		return -1;
	sent = queue_send(net, q, fd, (struct sockaddr *)&addr, len, f);
	if (sent > 0 && sender)
		sender->enlarged = true;
	return sent;
}

/* The socket at the other end. */
static struct usk *partner(const struct usk *u)
{
	return u->twin ? u->twin : u->way == WAY_CONNECTION ? u->peer : NULL;
}

static int fill_queue(struct net *net, struct usk *u, struct fault *f)
{
	const struct queued *q = queue_of(net, u->s->id);
	struct usk *sender = partner(u);
	const int fd = sender ? sender->s->fd : u->far;
	char who[SOCK_NAME_MAX];
	int sent;

	if (!q || u->way == WAY_INHERITED || u->way == WAY_NOT_MADE)
		return 0;
	if (fd < 0 && (!usk_is_dgram(u) || !u->e->name.len)) {
		log_warnx("%s: what waited in it is lost, it came from outside the tree",
			  sock_name(u->s, who, sizeof(who)));
		return 0;
	}
	for (; q; q = queue_next(q)) {
		sent = fd >= 0 ? queue_send(net, q, fd, NULL, 0, f) : send_by_name(net, u, q, f);
		if (sent < 0)
			return -1;
		if (sent > 0 && sender)
			sender->enlarged = true;
	}
	return 0;
}

/* Forget the peer of a datagram socket. This empties its own queue. */
static int disconnect(const struct usk *u, struct fault *f)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	return connect(u->s->fd, &none, sizeof(none)) < 0 ?
	       fault(f, errno, "disconnect a datagram socket") : 0;
}

/*
 * Pairs of datagram sockets of which one end forgot the other: what waits in the end that
 * remembers comes from it, so this is sent before.
 */
static int part_pair(struct net *net, struct usk *u, struct fault *f)
{
	if (u->way != WAY_PAIR || !usk_is_dgram(u))
		return 0;
	if (u->far >= 0)
		return u->e->state == UNIX_ESTABLISHED && !u->e->peer ? 0 : disconnect(u, f);
	if (!u->twin || usk_is_mutual(u) || u->twin != u->peer)
		return 0;
	return fill_queue(net, u, f) < 0 ? -1 : disconnect(u->twin, f);
}

static bool filled_before(const struct usk *u)
{
	return u->way == WAY_PAIR && usk_is_dgram(u) && u->far < 0 && u->twin &&
	       !usk_is_mutual(u) && u->twin == u->peer;
}

static int fill_all(struct net *net, struct unix_restore *r, struct fault *f)
{
	size_t i;

	index_names(r);
	for (i = 0; i < r->n; i++)
		if (part_pair(net, r->list[i], f) < 0)
			return -1;
	for (i = 0; i < r->n; i++)
		if (!filled_before(r->list[i]) && fill_queue(net, r->list[i], f) < 0)
			return -1;
	return 0;
}

/* ---- peers ---- */

/* The peer is gone. If it had not read all, its last sign is ECONNRESET. */
static int drop_far(struct usk *u, struct fault *f)
{
	if (u->far < 0)
		return 0;
	if (u->e->reset && send(u->s->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		return fault(f, errno, "prepare the reset of unix socket %u", u->s->id);
	close(u->far);
	u->far = -1;
	return 0;
}

static bool must_connect(const struct usk *u)
{
	return u->peer && (u->way == WAY_OUTSIDE ||
			   (usk_is_dgram(u) && u->way != WAY_INHERITED && u->twin != u->peer));
}

static int connect_to_peer(struct usk *u, struct fault *f)
{
	const struct usk *p = u->peer;
	AUTO_CLOSE int via = -1;
	struct sockaddr_un addr;
	char who[SOCK_NAME_MAX];
	socklen_t len;

	sock_name(u->s, who, sizeof(who));
	if (!p->e->name.len)
		return fault(f, -EBADMSG, "%s: its peer %u has no name to connect to", who,
			     p->e->ino);
	if (u->way == WAY_OUTSIDE)
		len = unix_name_plain(p->e->name.data, p->e->name.len, &addr);
	else if (unix_name_address(p->s->fd, p->e, &addr, &len, &via, f) < 0)
		return -1;
	if (connect(u->s->fd, (struct sockaddr *)&addr, len) < 0)
		return fault(f, errno, "%s: connect it to \"%.*s\"", who, (int)p->e->name.len,
			     (char *)p->e->name.data);
	return 0;
}

/* Does u's connection bar that of others to u? Not those of two that connect to each other. */
static bool waits_for(const struct usk *peer, const struct usk *u)
{
	return peer != u && !usk_is_mutual(u) && must_connect(peer);
}

/* Only its peer can connect to a socket that has one: whom others connect to comes after them. */
static int connect_all(struct unix_restore *r, struct fault *f)
{
	size_t i, done = 0, all = 0;
	struct usk *u;

	for (i = 0; i < r->n; i++) {
		u = r->list[i];
		if (!must_connect(u))
			continue;
		all++;
		if (waits_for(u->peer, u))
			u->peer->due++;
	}
	for (i = 0; i < r->n; i++) {
		u = r->list[i];
		while (must_connect(u) && !u->due && !u->connected) {
			if (connect_to_peer(u, f) < 0)
				return -1;
			u->connected = true;
			done++;
			if (!waits_for(u->peer, u) || --u->peer->due)
				break;
			u = u->peer;
		}
	}
	if (done < all)
		return fault(f, -EDEADLK, "%zu unix sockets of files.img are connected in a circle",
			     all - done);
	return 0;
}

/* ---- the rest ---- */

static size_t pack(const SkOptsEntry *e, uint8_t *buf, size_t size)
{
	const size_t n = sk_opts_entry__get_packed_size(e);

	return n <= size ? sk_opts_entry__pack(e, buf) : 0;
}

/* What a new socket has need not be set: all options of it, packed; returns the length. */
static size_t usual_options(uint8_t *buf, size_t size)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SkOptsEntry e = SK_OPTS_ENTRY__INIT;
	struct fault none = { 0 };
	size_t n = 0;

	if (fd >= 0 && sock_opts_read(fd, &e, &none) == 0)
		n = pack(&e, buf, size);
	sock_opts_free(&e);
	return n;
}

static int set_number(int fd, int option, int value, const char *name, struct fault *f)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) < 0 ?
	       fault(f, errno, "set socket option %s to %d", name, value) : 0;
}

static int finish(struct usk *u, const uint8_t *usual, size_t nusual, struct fault *f)
{
	const UnixSkEntry *e = u->e;
	const int fd = u->s->fd;
	uint8_t own[512];
	const size_t n = pack(e->opts, own, sizeof(own));

	if ((u->enlarged || !n || n != nusual || memcmp(own, usual, n) != 0) &&
	    sock_opts_apply(fd, e->opts, f) < 0)
		return -1;
	if (e->n_number && numbers_apply(fd, e->number, e->n_number, f) < 0)
		return -1;
	if (e->shutdown && shutdown(fd, e->shutdown - 1) < 0)
		return fault(f, errno, "shut it down (%u)", e->shutdown);
	if (e->has_peek_off && set_number(fd, SO_PEEK_OFF, e->peek_off, "SO_PEEK_OFF", f) < 0)
		return -1;
	if (e->passpidfd && set_number(fd, SO_PASSPIDFD, 1, "SO_PASSPIDFD", f) < 0)
		return -1;
	if (e->refuses_rights && set_number(fd, SO_PASSRIGHTS, 0, "SO_PASSRIGHTS", f) < 0)
		return -1;
	return net_set_flags(fd, e->flags, f);
}

int unix_fill(struct net *net, struct fault *f)
{
	struct unix_restore *r = net->unix_restore;
	uint8_t usual[512];
	char who[SOCK_NAME_MAX];
	size_t i, n = usual_options(usual, sizeof(usual));

	if (!r || fill_all(net, r, f) < 0)
		return r ? -1 : 0;
	for (i = 0; i < r->n; i++)
		if (drop_far(r->list[i], f) < 0)
			return -1;
	if (connect_all(r, f) < 0)
		return -1;
	for (i = 0; i < r->n; i++)
		if (r->list[i]->way != WAY_NOT_MADE && r->list[i]->way != WAY_INHERITED &&
		    finish(r->list[i], usual, n, f) < 0)
			return fault_prefix(f, "%s", sock_name(r->list[i]->s, who, sizeof(who)));
	return 0;
}
