/* SPDX-License-Identifier: MIT */
/*
 * mqueue.h - POSIX message queues.
 */
#ifndef STASIS_FILES_MQUEUE_H
#define STASIS_FILES_MQUEUE_H

#include "workers/files/type.h"

extern const struct file_type mqueue_type;

/* Up to max descriptors that decide whether queues that were made stay; returns how many. */
size_t mqueue_hand_over(struct files *fs, int *fds, size_t max);
/* How many of those there may be. */
size_t mqueue_count(const struct files *fs);

#endif
