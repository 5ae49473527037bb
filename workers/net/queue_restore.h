/* SPDX-License-Identifier: MIT */
/*
 * queue_restore.h - what waited in sockets (sk-queues.img): the restore.
 */
#ifndef STASIS_NET_QUEUE_RESTORE_H
#define STASIS_NET_QUEUE_RESTORE_H

#include <sys/socket.h>

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

/* One message. */
struct queued {
	SkPacketEntry *entry;		/* checked */
	uint64_t offset;		/* of its data in the image */
	char *data;			/* or these themselves; NULL: in the image */
	struct queued *next;		/* queue_restore.c's */
};

/* prepare(): read and check the image, name the files that are sent. The first call counts. */
int queue_prepare(struct net *net, struct fault *f);
/* What waits in the socket of that id, in order. NULL: nothing. */
const struct queued *queue_of(const struct net *net, uint32_t id);
const struct queued *queue_next(const struct queued *q);
/*
 * fill(): send one message through fd, to an address or (NULL) its peer. 1 when fd's send buffer
 * had to be enlarged for that.
 */
int queue_send(struct net *net, const struct queued *q, int fd, const struct sockaddr *to,
	       socklen_t to_len, struct fault *f);
/* end(). May be called again. */
void queue_restore_end(struct net *net);

#endif
