/* SPDX-License-Identifier: MIT */
/*
 * pipe.h - pipes and FIFOs with what is inside them.
 */
#ifndef STASIS_FILES_PIPE_H
#define STASIS_FILES_PIPE_H

#include "workers/files/type.h"

/*
 * Restore: the contents of a pipe, of sum bytes, are divided so (the entry stays the caller's).
 */
int pipe_set_packets(struct files *fs, const PipePacketsEntry *e, uint64_t sum, struct fault *f);

extern const struct file_type pipe_type;
extern const struct file_type fifo_type;

#endif
