/* SPDX-License-Identifier: MIT */
/*
 * unix.h - unix sockets: the row of the table.
 */
#ifndef STASIS_NET_UNIX_H
#define STASIS_NET_UNIX_H

#include "proto/control/control.pb-c.h"
#include "workers/net/kind.h"

extern const struct sock_kind unix_kind;

/* unixsk entries, as CRIU has them. */
enum {					/* uflags */
	UNIX_EXTERNAL = 1,		/* the peer of one of ours, outside the tree */
	UNIX_PLUGIN = 4,		/* a plugin makes it (CRIU: USK_CALLBACK) */
};

/* Dump: sockets whose peer no task of the tree holds, for a reply; the caller frees all. */
size_t unix_outside(struct net *net, OutsidePeer ***list);

/* Restore: inodes of those that a plugin makes; the caller frees them. */
size_t unix_of_plugins(struct net *net, uint32_t **ino);
enum { UNIX_ESTABLISHED = 1, UNIX_CLOSE = 7, UNIX_LISTEN = 10 };	/* state: as TCP's */

#endif
