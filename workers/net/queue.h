/* SPDX-License-Identifier: MIT */
/*
 * queue.h - what waits in a socket: data, message boundaries, senders, descriptors (sk-queues.img).
 * The dump.
 */
#ifndef STASIS_NET_QUEUE_H
#define STASIS_NET_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "workers/net/kind.h"

#define QUEUE_RIGHTS_MAX 253		/* descriptors of a message: the kernel's SCM_MAX_FD */

/* What is known of a queue before it is looked at. */
struct waiting {
	size_t bytes;			/* of a stream; for others 0 may mean an empty message */
	bool ended;		/* nothing more can come: the end reads like an empty message */
	int peek_off;			/* SO_PEEK_OFF, which is put back; -1: off */
};

/* collected(): copy all that waits; nothing is taken. Descriptors found are named (net_fly). */
int queue_collect(struct net *net, struct sock *s, const struct waiting *w, struct fault *f);
/* written(): the rest is written. Called by each kind that uses queues. */
int queue_written(struct net *net, struct fault *f);
/* end(). May be called again. */
void queue_end(struct net *net);

#endif
