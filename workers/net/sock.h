/* SPDX-License-Identifier: MIT */
/*
 * sock.h - the sockets known to the worker, by id and by inode number.
 */
#ifndef STASIS_NET_SOCK_H
#define STASIS_NET_SOCK_H

#include "proto/control/socket_list.h"
#include "workers/net/kind.h"
#include "workers/net/net.h"

/*
 * Before a dump, the task runs: learn what a socket is; a duplicate is taken only of what is not
 * known without. -1 with f set; f->code is ESRCH or EBADF when it is gone.
 */
int sock_glance(struct net *net, const struct socket_ref *ref, struct fault *f);

/*
 * Dump: take a duplicate of each and learn what it is. After a fault some are known, some have no
 * kind.
 */
int sock_add_all(struct net *net, const SocketList *list, struct fault *f);

/* Restore: add the socket of an entry, which is taken over. -1: the id is taken. */
int sock_add_entry(struct net *net, FileEntry *e, const struct sock_kind *kind, struct fault *f);

/* socket(2), close on exec. Of those that ping also when we are of no group that may. */
int sock_open(int family, int type, int protocol);

size_t sock_count(const struct net *net);
struct sock *sock_at(const struct net *net, size_t i);

/* Close and forget all; kinds have released their parts. */
void sock_end(struct net *net);

#endif
