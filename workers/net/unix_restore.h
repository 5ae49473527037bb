/* SPDX-License-Identifier: MIT */
/*
 * unix_restore.h - unix sockets: the restore. What its files share.
 */
#ifndef STASIS_NET_UNIX_RESTORE_H
#define STASIS_NET_UNIX_RESTORE_H

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"
#include "workers/net/unix_name.h"

/* How a socket comes to its peer. */
enum usk_way {
	WAY_ALONE,		/* not at all, or (datagrams) connected when queues are full */
	WAY_PAIR,			/* socketpair */
	WAY_CONNECTION,		/* connected to a listening socket, whose name it may bear */
	WAY_WAITING,			/* connected, not accepted yet */
	WAY_OUTSIDE,			/* the peer is not ours */
	WAY_INHERITED,			/* given by --inherit-fd, or by a plugin */
	WAY_NOT_MADE,			/* it is an outside peer */
};

/* One socket; the sock's priv. */
struct usk {
	struct sock *s;
	const UnixSkEntry *e;
	struct usk *peer;		/* by e->peer; NULL: none */
	struct usk *twin;		/* WAY_PAIR: the other end */
	struct usk *server;		/* WAY_CONNECTION: the end that was accepted */
	enum usk_way way;
	int far;			/* the other end, when no socket of the tree is; -1 */
	bool bears;			/* its name is that of the socket which accepted it */
	bool linked;			/* it is one end of a pair or connection */
	bool bound;
	bool connected;			/* to its peer, by a connect after the queues were filled */
	bool enlarged;			/* a message made its send buffer larger */
	size_t due;		/* datagrams: how many must connect to it before it connects */
};

struct unix_restore {
	struct usk **list;		/* by inode number */
	size_t n;
	struct usk **listener;
	size_t nlisteners;
	struct usk **named;		/* datagram sockets by name; unix_fill.c */
	size_t nnamed;
	struct unix_places *places;
	int anonymous;			/* sends what nobody is known to have sent; -1 */
	bool made;
};

static inline bool usk_is_dgram(const struct usk *u)
{
	return u->e->type == SOCK_DGRAM;
}

static inline bool usk_is_mutual(const struct usk *u)
{
	return u->peer && u->peer != u && u->peer->peer == u;
}

enum sock_created unix_create(struct net *net, struct sock *s, struct fault *f);
int unix_fill(struct net *net, struct fault *f);
/* Does a name appear in the file system? The keeper is then to be handed over. */
bool unix_binds(const struct net *net);
/* As keeper_hand_over. */
int unix_hand_over(struct net *net);
void unix_restore_end(struct net *net);

#endif
