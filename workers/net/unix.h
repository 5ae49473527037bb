/* SPDX-License-Identifier: MIT */
/*
 * unix.h - unix sockets: the row of the table.
 */
#ifndef STASIS_NET_UNIX_H
#define STASIS_NET_UNIX_H

#include "workers/net/kind.h"

extern const struct sock_kind unix_kind;

/* unixsk entries, as CRIU has them. */
enum { UNIX_EXTERNAL = 1 };		/* uflags: the peer of one of ours, outside the tree */
enum { UNIX_ESTABLISHED = 1, UNIX_CLOSE = 7, UNIX_LISTEN = 10 };	/* state: as TCP's */

#endif
