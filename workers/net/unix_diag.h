/* SPDX-License-Identifier: MIT */
/*
 * unix_diag.h - what the kernel tells of all unix sockets at once (NETLINK_SOCK_DIAG).
 */
#ifndef STASIS_NET_UNIX_DIAG_H
#define STASIS_NET_UNIX_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

struct sock;

/* One socket of the machine, in the tree or not. */
struct unix_rec {
	uint32_t ino;
	uint8_t type, state, shutdown;
	bool has_peer;			/* peer 0: it is closed, or not accepted yet */
	uint32_t peer;			/* its inode number */
	uint32_t waiting;		/* bytes to read; listening: connections to accept */
	uint32_t room;	/* listening: backlog; else memory of what it sent and is not read */
	uint32_t sndbuf, rcvbuf;	/* sizes of its buffers; 0: not told */
	bool no_filter;			/* it has no memory for one */
	uint32_t name_len, nicons;
	const uint8_t *name;	/* as bound; name_len may count a NUL at the end of a path */
	const uint32_t *icons;	/* listening: who waits to be accepted, in order; 0: it is closed */

	struct unix_rec *listener;	/* at which it waits to be accepted */
	/* Its peer; NULL: there is none in the list, or the list is not whole. */
	struct unix_rec *other;
	struct sock *s;			/* in the tree; NULL: outside */
	uint32_t outside_id;		/* of its entry, when it is an outside peer; 0: none yet */
	struct unix_facts *facts;	/* unix.c's */
	struct unix_rec *next;		/* in its bucket */
};

struct unix_diag;

/*
 * Ask for all sockets; not whole: for type, state, name and peer only, the rest is 0. NULL with f
 * set.
 */
struct unix_diag *unix_diag_read(bool whole, struct fault *f);
struct unix_rec *unix_diag_find(const struct unix_diag *d, uint32_t ino);
void unix_diag_free(struct unix_diag *d);

#endif
