/* SPDX-License-Identifier: MIT */
/*
 * mqueue.h - POSIX message queues.
 */
#ifndef STASIS_FILES_MQUEUE_H
#define STASIS_FILES_MQUEUE_H

#include "workers/files/type.h"

extern const struct file_type mqueue_type;

/* The restore has succeeded: the queues that were made stay. */
int mqueue_keep(struct files *fs, struct fault *f);
/* Is there such a queue? Then mqueue_keep is due. */
bool mqueue_any(const struct files *fs);

#endif
