/* SPDX-License-Identifier: MIT */
/*
 * unix_ways.c - unix sockets: the restore, before any task exists.
 *
 * Entries are checked; how each socket comes to its peer is chosen.
 *
 * Rights:   none.
 * Holds:    struct unix_restore.
 */
#include "workers/net/unix_ways.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/net/net.h"
#include "workers/net/numbers.h"
#include "workers/net/queue_restore.h"
#include "workers/net/sock.h"
#include "workers/net/unix.h"
#include "workers/net/unix_restore.h"

int unix_check(struct net *net, struct sock *s, struct fault *f)
{
	const UnixSkEntry *e = s->entry->usk;

	(void)net;
	if (!e || e->id != s->id)
		return fault(f, -EBADMSG, "files.img: file %u has no unix socket entry of its own",
			     s->id);
	if ((e->type != SOCK_STREAM && e->type != SOCK_DGRAM && e->type != SOCK_SEQPACKET) ||
	    (e->state != UNIX_ESTABLISHED && e->state != UNIX_CLOSE && e->state != UNIX_LISTEN))
		return fault(f, -EBADMSG, "files.img: unix socket %u has type %u and state %u",
			     s->id, e->type, e->state);
	if (e->name.len > UNIX_NAME_MAX ||
	    (unix_name_is_path(e) && memchr(e->name.data, 0, e->name.len) &&
	     e->name.data[e->name.len - 1]))
		return fault(f, -EBADMSG, "files.img: unix socket %u has no valid name", s->id);
	if (e->deleted && !unix_name_is_path(e))
		return fault(f, -EBADMSG, "files.img: unix socket %u has no path that was deleted",
			     s->id);
	return numbers_check(s->id, e->number, e->n_number, f);
}

static int by_ino(const void *a, const void *b)
{
	const struct usk *x = *(struct usk *const *)a, *y = *(struct usk *const *)b;

	return x->e->ino < y->e->ino ? -1 : x->e->ino > y->e->ino;
}

struct usk *usk_find(const struct unix_restore *r, uint32_t ino)
{
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	const struct usk key = { .e = &e }, *at = &key;
	struct usk **found;

	e.ino = ino;
	found = r->n ? bsearch(&at, r->list, r->n, sizeof(*r->list), by_ino) : NULL;
	return found ? *found : NULL;
}

int usk_inherited(const struct net *net, const UnixSkEntry *e)
{
	const Options *o = net_opts(net);
	const struct setting *set = &net->worker->set;
	char key[32];
	size_t i;

	snprintf(key, sizeof(key), "socket:[%u]", e->ino);
	for (i = 0; i < o->n_inherit_fd; i++)
		if (strcmp(o->inherit_fd[i]->key, key) == 0 &&
		    o->inherit_fd[i]->fd_index < set->nfds)
			return set->fds[o->inherit_fd[i]->fd_index];
	return -1;
}

/* Of a connection: which end was accepted? It has the name of the socket that accepted it. */
static struct usk *served_end(struct usk *u, const struct unix_restore *r)
{
	struct usk *p = u->peer;
	size_t i;

	if (!u->e->name.len || !p->e->name.len)
		return u->e->name.len ? u : p;
	for (i = 0; i < r->nlisteners; i++)
		if (unix_name_same(r->listener[i]->e, p->e))
			return p;
	return u;
}

static void choose_pair(struct usk *u, const struct unix_restore *r)
{
	struct usk *p = u->peer;

	if (usk_is_dgram(u)) {
		/* Both could have connected by name, unless SO_PEERCRED tells of a pair. */
		u->way = u->e->peercred || p->e->peercred || !u->e->name.len || !p->e->name.len ?
			 WAY_PAIR : WAY_ALONE;
	} else if (u->e->name.len || p->e->name.len) {
		u->way = WAY_CONNECTION;
		u->server = p->server = served_end(u, r);
		u->server->bears = true;
	} else {
		u->way = WAY_PAIR;
	}
	p->way = u->way;
}

static int choose_way(struct net *net, const struct unix_restore *r, struct usk *u, struct fault *f)
{
	const UnixSkEntry *e = u->e;
	const bool connected = e->state == UNIX_ESTABLISHED && !usk_is_dgram(u);

	if (e->uflags & UNIX_EXTERNAL) {
		u->way = WAY_NOT_MADE;
	} else if (e->uflags & UNIX_PLUGIN || usk_inherited(net, e) >= 0) {
		u->way = WAY_INHERITED;
	} else if (u->peer && u->peer->e->uflags & UNIX_EXTERNAL) {
		u->way = WAY_OUTSIDE;
		if (!net_opts(net)->ext_unix_sk)
			return fault(f, -ENOTSUP, "unix socket %u has a peer that is not in the "
				     "images: give --ext-unix-sk to connect it to \"%.*s\", or "
				     "--inherit-fd fd[N]:socket:[%u]", u->s->id,
				     (int)u->peer->e->name.len, (char *)u->peer->e->name.data,
				     e->ino);
	} else if (u->peer && u->peer->e->state == UNIX_LISTEN) {
		u->way = WAY_WAITING;
	} else if (usk_is_mutual(u)) {
		if (u->peer->way == WAY_ALONE && u->peer->e->type == e->type)
			choose_pair(u, r);
	} else if (connected) {
		u->way = e->name.len ? WAY_CONNECTION : WAY_PAIR;
		u->server = u;
		u->bears = e->name.len > 0;
	} else if (usk_is_dgram(u) && !e->name.len &&
		   ((e->state == UNIX_ESTABLISHED && !e->peer) || queue_of(net, u->s->id))) {
		/* Connected to a socket that is gone; or nobody could send to it but by a pair. */
		u->way = WAY_PAIR;
	}
	if (!u->peer && e->peer && u->way != WAY_INHERITED)
		return fault(f, -EBADMSG, "files.img: unix socket %u has peer %u, which is not "
			     "there", u->s->id, e->peer);
	if (u->peer && u->peer->e->type != e->type && !(u->peer->e->uflags & UNIX_EXTERNAL))
		return fault(f, -EBADMSG, "files.img: unix socket %u has a peer of another type",
			     u->s->id);
	if (u->way == WAY_ALONE && usk_is_dgram(u) && u->peer && u->peer != u &&
	    !u->peer->e->name.len)
		u->way = WAY_PAIR;
	return 0;
}

static int add_usk(struct net *net, struct sock *s, struct fault *f)
{
	struct unix_restore *r = net->unix_restore;
	struct usk *u = s->priv = xcalloc(1, sizeof(*u));

	(void)f;
	*u = (struct usk){ .s = s, .e = s->entry->usk, .far = -1 };
	r->list[r->n++] = u;
	if (u->e->state == UNIX_LISTEN && !(u->e->uflags & UNIX_EXTERNAL))
		r->listener[r->nlisteners++] = u;
	return 0;
}

int unix_prepare(struct net *net, struct fault *f)
{
	struct unix_restore *r = xcalloc(1, sizeof(*r));
	size_t i;

	net->unix_restore = r;
	r->anonymous = -1;
	r->list = xcalloc(sock_count(net), sizeof(*r->list));
	r->listener = xcalloc(sock_count(net), sizeof(*r->listener));
	if (net_each_sock(net, &unix_kind, add_usk, f) < 0)
		return -1;
	if (r->n)
		qsort(r->list, r->n, sizeof(*r->list), by_ino);
	for (i = 1; i < r->n; i++)
		if (r->list[i]->e->ino == r->list[i - 1]->e->ino)
			return fault(f, -EBADMSG, "files.img: two unix sockets are number %u",
				     r->list[i]->e->ino);
	if (queue_prepare(net, f) < 0)
		return -1;
	for (i = 0; i < r->n; i++)
		r->list[i]->peer = r->list[i]->e->peer ? usk_find(r, r->list[i]->e->peer) : NULL;
	for (i = 0; i < r->n; i++)
		if (choose_way(net, r, r->list[i], f) < 0)
			return -1;
	return 0;
}
