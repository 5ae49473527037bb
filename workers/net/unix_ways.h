/* SPDX-License-Identifier: MIT */
/*
 * unix_ways.h - unix sockets: the restore, before any task exists.
 */
#ifndef STASIS_NET_UNIX_WAYS_H
#define STASIS_NET_UNIX_WAYS_H

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

struct unix_restore;
struct usk;

int unix_check(struct net *net, struct sock *s, struct fault *f);
/* Makes net->unix_restore: each socket has its peer and its way to it. */
int unix_prepare(struct net *net, struct fault *f);

/* The socket with that inode number at the dump. NULL: none. */
struct usk *usk_find(const struct unix_restore *r, uint32_t ino);
/* What --inherit-fd gives for it, not the caller's. -1: nothing. */
int usk_inherited(const struct net *net, const UnixSkEntry *e);

#endif
