/* SPDX-License-Identifier: MIT */
/*
 * unix_restore.c - unix sockets: the restore, up to where every socket exists.
 *
 *	pairs, and connections whose listening socket is gone (a passing one stands in for it)
 *	all others are made, bound, made to listen
 *	connections through listening sockets of the tree; those not accepted yet last
 *
 * unix_ways.c has chosen the ways, unix_fill.c does the rest. All sockets are made at the first
 * call.
 *
 * Rights:   see unix_name.c and unix_make.c.
 * Holds:    struct unix_restore.
 */
#include "workers/net/unix_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/net/net.h"
#include "workers/net/options.h"
#include "workers/net/sock.h"
#include "workers/net/unix.h"
#include "workers/net/unix_make.h"
#include "workers/net/unix_ways.h"

size_t unix_of_plugins(struct net *net, uint32_t **ino)
{
	const struct unix_restore *r = net->unix_restore;
	size_t i, n = 0, cap = 0;

	*ino = NULL;
	for (i = 0; r && i < r->n; i++)
		if (r->list[i]->e->uflags & UNIX_PLUGIN)
			*(uint32_t *)grow(ino, n++, &cap, sizeof(**ino)) = r->list[i]->e->ino;
	return n;
}

/* Ours, of NetCreate. */
static int made_by_plugin(const struct net *net, const UnixSkEntry *e)
{
	const struct unix_restore *r = net->unix_restore;
	size_t i, n = 0;

	for (i = 0; r->list[i]->e != e; i++)
		n += (r->list[i]->e->uflags & UNIX_PLUGIN) != 0;
	return net->plugin ? net->plugin[n] : -1;
}

/* Deeds of many sockets, and where what they make goes. */
struct plan {
	struct deed *deed;
	int **to;			/* two for each deed; NULL: nowhere */
	size_t n, cap, to_cap;
};

static struct deed *plan_add(struct plan *p, enum deed_kind kind, const SkUcredEntry *who, int type,
			     int *to0, int *to1)
{
	struct deed *d = grow(&p->deed, p->n, &p->cap, sizeof(*d));
	int **to = grow(&p->to, p->n, &p->to_cap, 2 * sizeof(*to));

	*d = (struct deed){ .kind = kind, .who = who, .type = type, .fd = { -1, -1 }, .via = -1 };
	to[0] = to0;
	to[1] = to1;
	p->n++;
	return d;
}

static int plan_run(struct net *net, struct plan *p, struct fault *f)
{
	int r = unix_make(net, p->deed, p->n, f), k;
	size_t i;

	for (i = 0; i < p->n; i++) {
		struct deed *d = &p->deed[i];

		for (k = 0; k < 2 && d->kind != DEED_LISTEN; k++)
			if (p->to[2 * i + k])
				*p->to[2 * i + k] = d->fd[k];
	}
	free(p->deed);
	free(p->to);
	*p = (struct plan){ 0 };
	return r;
}

/*
 * Can one pair be made of u and its peer? A peer that knows nothing of u but has no name must be.
 */
static bool pairs_with_peer(const struct usk *u)
{
	const struct usk *p = u->peer;

	return p && p != u && !p->linked &&
	       (usk_is_mutual(u) || (p->way != WAY_CONNECTION && !p->e->name.len));
}

/* First those whose other end is there, then those that get a passing one. */
static int make_pairs(struct net *net, struct unix_restore *r, struct fault *f)
{
	struct plan plan = { 0 };
	size_t i;

	for (i = 0; i < 2 * r->n; i++) {
		struct usk *u = r->list[i % r->n], *p = u->peer;
		const SkUcredEntry *who = u->e->peercred;
		const bool both = i < r->n;

		if (u->way != WAY_PAIR || u->linked || (both && !pairs_with_peer(u)))
			continue;
		u->linked = true;
		if (both) {
			p->linked = true;
			u->twin = p;
			p->twin = u;
		}
		plan_add(&plan, DEED_PAIR, both && !who ? p->e->peercred : who, u->e->type,
			 &u->s->fd, both ? &p->s->fd : &u->far);
	}
	return plan_run(net, &plan, f);
}

static int new_socket(int type, struct fault *f)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	return fd < 0 ? fault(f, errno, "create a unix socket") : fd;
}

static bool same_cred(const SkUcredEntry *a, const SkUcredEntry *b)
{
	return a == b || (a && b && a->pid == b->pid && a->uid == b->uid && a->gid == b->gid);
}

/*
 * Make n connections to the listening socket fd of that name by one doer, and accept them at once.
 */
static int connect_all(struct net *net, int fd, const UnixSkEntry *name, struct usk **server,
		       size_t n, struct fault *f)
{
	struct sockaddr_un addr;
	struct plan plan = { 0 };
	socklen_t len;
	int via, r;
	size_t i;

	if (unix_name_address(fd, name, &addr, &len, &via, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		struct usk *u = server[i], *client = u->peer;
		struct deed *d = plan_add(&plan, DEED_CONNECT, u->e->peercred, u->e->type,
					  client ? &client->s->fd : &u->far, NULL);

		d->addr = addr;
		d->addr_len = len;
		d->via = via;
		u->linked = true;
		if (client)
			client->linked = true;
	}
	r = plan_run(net, &plan, f);
	auto_close(&via);
	for (i = 0; r == 0 && i < n; i++) {
		server[i]->s->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (server[i]->s->fd < 0)
			r = fault(f, errno, "accept a connection made here");
	}
	return r;
}

/* Whom the client of a connection names: who listened. */
static const SkUcredEntry *who_listened(const struct usk *server)
{
	return server->peer ? server->peer->e->peercred : server->e->peercred;
}

/* The listening socket of the tree through which a connection can be made again. */
static struct usk *acceptor(const struct unix_restore *r, const struct usk *server)
{
	const SkUcredEntry *who = who_listened(server);
	size_t i;

	for (i = 0; i < r->nlisteners; i++) {
		struct usk *l = r->listener[i];

		if (l->e->type == server->e->type && l->way == WAY_ALONE &&
		    unix_name_same(l->e, server->e) &&
		    (!who || !l->e->peercred || same_cred(l->e->peercred, who)))
			return l;
	}
	return NULL;
}

/*
 * A connection whose listening socket is gone: one with its name stands in. When the name is in use
 * by another program the connection goes without.
 */
static int connect_alone(struct net *net, struct unix_restore *r, struct usk *server,
			 struct fault *f)
{
	AUTO_CLOSE int fd = new_socket(server->e->type, f);
	struct usk *client = server->peer;
	struct deed d = { .kind = DEED_LISTEN, .who = who_listened(server), .fd = { fd, -1 },
			  .backlog = 1 };
	struct fault why = { 0 };
	char who[SOCK_NAME_MAX];

	if (fd < 0)
		return -1;
	if (unix_name_bind(r->places, fd, server->e, true, &why) == 0)
		return unix_make(net, &d, 1, f) < 0 ? -1 :
		       connect_all(net, fd, server->e, &server, 1, f);
	log_warnx("%s: it loses its name: %s", sock_name(server->s, who, sizeof(who)), why.text);
	d = (struct deed){ .kind = DEED_PAIR, .who = server->e->peercred, .type = server->e->type };
	if (unix_make(net, &d, 1, f) < 0)
		return -1;
	server->s->fd = d.fd[0];
	*(client ? &client->s->fd : &server->far) = d.fd[1];
	server->linked = true;
	if (client)
		client->linked = true;
	return 0;
}

/* Connections, by their accepted ends: those through sockets of the tree, or the others. */
static int make_connections(struct net *net, struct unix_restore *r, bool alone, struct fault *f)
{
	struct usk *group[64], *by = NULL, *next;
	size_t i, n = 0, most = 0;

	for (i = 0; i < r->n; i++) {
		struct usk *u = r->list[i];

		if (u->way != WAY_CONNECTION || u->server != u || u->linked)
			continue;
		next = acceptor(r, u);
		if (alone) {
			if (!next && connect_alone(net, r, u, f) < 0)
				return -1;
			continue;
		}
		if (n && (next != by || n == most ||
			  !same_cred(group[0]->e->peercred, u->e->peercred))) {
			if (connect_all(net, by->s->fd, by->e, group, n, f) < 0)
				return -1;
			n = 0;
		}
		by = next;
		most = by->e->backlog + 1ul < ARRAY_LEN(group) ? by->e->backlog + 1 :
								 ARRAY_LEN(group);
		group[n++] = u;
	}
	return n ? connect_all(net, by->s->fd, by->e, group, n, f) : 0;
}

static int take_inherited(struct net *net, struct usk *u, struct fault *f)
{
	u->s->fd = fcntl(u->e->uflags & UNIX_PLUGIN ? made_by_plugin(net, u->e)
						    : usk_inherited(net, u->e),
			 F_DUPFD_CLOEXEC, 0);
	return u->s->fd < 0 ?
		       fault(f, errno, "take the inherited descriptor of socket:[%u]", u->e->ino) :
		       0;
}

/* Sockets that are made without any other; those that wait for acceptance are made by a connect. */
static int make_alone(struct net *net, struct unix_restore *r, struct fault *f)
{
	size_t i;

	for (i = 0; i < r->n; i++) {
		struct usk *u = r->list[i];

		if (u->s->fd >= 0 || u->way == WAY_NOT_MADE || u->way == WAY_CONNECTION ||
		    u->way == WAY_WAITING)
			continue;
		if (u->way == WAY_INHERITED) {
			if (take_inherited(net, u, f) < 0)
				return -1;
			continue;
		}
		u->s->fd = new_socket(u->e->type, f);
		if (u->s->fd < 0)
			return -1;
	}
	return 0;
}

/* Names; first of files that have been renamed, to make room for who came after. */
static int bind_names(struct unix_restore *r, bool moved, struct fault *f)
{
	size_t i;

	for (i = 0; i < r->n; i++) {
		struct usk *u = r->list[i];

		if (!u->e->name.len || u->s->fd < 0 || u->bound || u->bears ||
		    u->way == WAY_INHERITED || (moved && !u->e->moved_to))
			continue;
		u->bound = true;
		if (unix_name_bind(r->places, u->s->fd, u->e, false, f) < 0)
			return -1;
	}
	return 0;
}

static int listen_all(struct net *net, struct unix_restore *r, struct fault *f)
{
	struct plan plan = { 0 };
	size_t i;

	for (i = 0; i < r->nlisteners; i++) {
		const struct usk *u = r->listener[i];
		struct deed *d;

		if (u->way != WAY_ALONE)
			continue;
		d = plan_add(&plan, DEED_LISTEN, u->e->peercred, u->e->type, NULL, NULL);
		d->fd[0] = u->s->fd;
		d->backlog = u->e->backlog;
	}
	return plan_run(net, &plan, f);
}

static int connect_waiting(struct net *net, struct usk *u, struct fault *f)
{
	const struct usk *l = u->peer;
	struct deed d = { .kind = DEED_CONNECT, .who = u->e->connector, .type = u->e->type,
			  .fd = { -1, -1 } };
	int r;

	if (u->linked)
		return 0;
	u->linked = true;
	if (unix_name_address(l->s->fd, l->e, &d.addr, &d.addr_len, &d.via, f) < 0)
		return -1;
	r = unix_make(net, &d, 1, f);
	auto_close(&d.via);
	u->s->fd = d.fd[0];
	return r;
}

/*
 * Connections not accepted yet, in the order in which they wait. What is accepted inherits options
 * of the listening socket, so these are set before.
 */
static int make_waiting(struct net *net, struct unix_restore *r, struct fault *f)
{
	size_t i, k;

	for (i = 0; i < r->nlisteners; i++) {
		const UnixSkEntry *e = r->listener[i]->e;

		if (sock_opts_apply(r->listener[i]->s->fd, e->opts, f) < 0)
			return -1;
		for (k = 0; k < e->n_pending; k++) {
			struct usk *u = usk_find(r, e->pending[k]);

			if (!u || u->way != WAY_WAITING || u->peer != r->listener[i])
				return fault(f, -EBADMSG, "files.img: unix socket %u does not wait "
					     "for socket %u", e->pending[k], e->ino);
			if (connect_waiting(net, u, f) < 0)
				return -1;
		}
	}
	for (i = 0; i < r->n; i++)
		if (r->list[i]->way == WAY_WAITING && connect_waiting(net, r->list[i], f) < 0)
			return -1;
	return 0;
}

/* Peers that contradict each other leave a socket that nothing makes. */
static int check_all(const struct unix_restore *r, struct fault *f)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (r->list[i]->s->fd < 0 && r->list[i]->way != WAY_NOT_MADE)
			return fault(f, -EBADMSG, "files.img: unix socket %u and its peer %u do "
				     "not fit", r->list[i]->s->id, r->list[i]->e->peer);
	return 0;
}

static int make_all(struct net *net, struct unix_restore *r, struct fault *f)
{
	r->places = unix_places_open(r->n, f);
	if (!r->places)
		return -1;
	/* Names of sockets that are gone are used first: others may have them now. */
	if (make_pairs(net, r, f) < 0 || make_connections(net, r, true, f) < 0 ||
	    make_alone(net, r, f) < 0 || bind_names(r, true, f) < 0 ||
	    bind_names(r, false, f) < 0 || listen_all(net, r, f) < 0 ||
	    make_connections(net, r, false, f) < 0 || make_waiting(net, r, f) < 0)
		return -1;
	/* Names of connected ends. */
	return bind_names(r, false, f) < 0 ? -1 : check_all(r, f);
}

enum sock_created unix_create(struct net *net, struct sock *s, struct fault *f)
{
	(void)s;
	if (!net->unix_restore->made && make_all(net, net->unix_restore, f) < 0)
		return SOCK_FAILED;
	net->unix_restore->made = true;
	return SOCK_CREATED;
}

bool unix_binds(const struct net *net)
{
	const struct unix_restore *r = net->unix_restore;
	size_t i;

	for (i = 0; i < r->n; i++) {
		const struct usk *u = r->list[i];

		if (unix_name_is_path(u->e) && !u->e->deleted && !u->bears &&
		    u->way != WAY_INHERITED && u->way != WAY_NOT_MADE)
			return true;
	}
	return false;
}

int unix_hand_over(struct net *net)
{
	return net->unix_restore && net->unix_restore->places ?
	       unix_places_hand_over(net->unix_restore->places) : -1;
}

void unix_restore_end(struct net *net)
{
	struct unix_restore *r = net->unix_restore;
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->n; i++) {
		auto_close(&r->list[i]->far);
		free(r->list[i]);
	}
	auto_close(&r->anonymous);
	unix_places_close(r->places);
	free(r->listener);
	free(r->named);
	free(r->list);
	free(r);
	net->unix_restore = NULL;
}
