/* SPDX-License-Identifier: MIT */
/*
 * mqueue_read.h - the messages of a POSIX queue, read and put back.
 */
#ifndef STASIS_FILES_MQUEUE_READ_H
#define STASIS_FILES_MQUEUE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

/* As they are received. */
struct mq_messages {
	size_t n, room;			/* room: bytes each has in text */
	uint32_t *prio, *len;
	char *text;
	void *memory;			/* shared with a keeper */
	size_t size;
};

/* fd: of our own, for reading and writing. The queue has them all again afterwards. */
int mq_messages_read(int fd, struct mq_messages *out, struct fault *f);
void mq_messages_free(struct mq_messages *m);

#endif
