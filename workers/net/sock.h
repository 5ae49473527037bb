/* SPDX-License-Identifier: MIT */
/*
 * sock.h - the sockets known to the worker, by id and by inode number.
 */
#ifndef STASIS_NET_SOCK_H
#define STASIS_NET_SOCK_H

#include "workers/net/kind.h"
#include "workers/net/net.h"

/*
 * Dump: take a duplicate of a socket and learn what it is. NULL with f set; f->code is ESRCH or EBADF
 * when it is gone. The socket belongs to net. running: the task runs, no duplicate is taken of what is
 * known without.
 */
struct sock *sock_add(struct net *net, const SocketRef *ref, bool running, struct fault *f);

/* Restore: add the socket of an entry, which is taken over. -1: the id is taken. */
int sock_add_entry(struct net *net, FileEntry *e, const struct sock_kind *kind, struct fault *f);

/* socket(2), close on exec. Of those that ping also when we are of no group that may. */
int sock_open(int family, int type, int protocol);

size_t sock_count(const struct net *net);
struct sock *sock_at(const struct net *net, size_t i);

/* Close and forget all; kinds have released their parts. */
void sock_end(struct net *net);

#endif
