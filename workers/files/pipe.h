/* SPDX-License-Identifier: MIT */
/*
 * pipe.h - pipes and FIFOs with what is inside them.
 */
#ifndef STASIS_FILES_PIPE_H
#define STASIS_FILES_PIPE_H

#include "workers/files/type.h"

extern const struct file_type pipe_type;
extern const struct file_type fifo_type;

#endif
