/* SPDX-License-Identifier: MIT */
/*
 * queue.h - what waits in a socket: data, message boundaries, senders, descriptors (sk-queues.img).
 */
#ifndef STASIS_NET_QUEUE_H
#define STASIS_NET_QUEUE_H

#include <sys/socket.h>

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

/* ---- dump ---- */

/* What is known of a queue before it is looked at. */
struct waiting {
	size_t bytes;			/* of a stream; for others 0 may mean an empty message */
	bool ended;			/* nothing more can come: the end reads like an empty message */
	int peek_off;			/* SO_PEEK_OFF, which is put back; -1: off */
};

/* collected(): copy all that waits; nothing is taken. Descriptors found are named (net_fly). */
int queue_collect(struct net *net, struct sock *s, const struct waiting *w, struct fault *f);
/* written(): the rest is written. Called by each kind that uses queues. */
int queue_written(struct net *net, struct fault *f);
/* end(). May be called again. */
void queue_end(struct net *net);

/* ---- restore ---- */

/* One message. */
struct queued {
	SkPacketEntry *entry;		/* checked */
	uint64_t offset;		/* of its data in the image */
	char *data;			/* or these themselves; NULL: in the image */
	struct queued *next;		/* queue.c's */
};

/* prepare(): read and check the image, name the files that are sent. The first call counts. */
int queue_prepare(struct net *net, struct fault *f);
/* What waits in the socket of that id, in order. NULL: nothing. */
const struct queued *queue_of(const struct net *net, uint32_t id);
const struct queued *queue_next(const struct queued *q);
/*
 * fill(): send one message through fd, to an address or (NULL) its peer. 1 when fd's send buffer had
 * to be enlarged for that.
 */
int queue_send(struct net *net, const struct queued *q, int fd, const struct sockaddr *to,
	       socklen_t to_len, struct fault *f);

/* end(). May be called again. */
void queue_restore_end(struct net *net);

#endif
