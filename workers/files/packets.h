/* SPDX-License-Identifier: MIT */
/*
 * packets.h - the borders of packets in pipes, O_DIRECT.
 */
#ifndef STASIS_FILES_PACKETS_H
#define STASIS_FILES_PACKETS_H

#include <stddef.h>

#include "workers/files/type.h"

extern const struct file_type pipe_packets_type;

/*
 * Copy what is in a pipe of so many bytes of room without taking it. *pieces stays NULL when it is
 * a stream; otherwise it lists packets (packet_piece) and what lies between. The caller frees both.
 */
struct pipe_copy {
	unsigned char *bytes;
	size_t n;
	uint32_t *piece;
	size_t npieces;
};

int packets_copy(int fd, int room, struct pipe_copy *out, struct fault *f);
void packets_free(struct pipe_copy *c);

/* The entry in files.img that goes with such a copy. */
int packets_write_entry(struct files *fs, uint32_t pipe_id, bool fifo, const struct pipe_copy *c,
			struct fault *f);

/* Write the bytes so that they are the same packets. fd does not block. */
int packets_refill(int fd, const unsigned char *bytes, const PipePacketsEntry *e, struct fault *f);

#endif
