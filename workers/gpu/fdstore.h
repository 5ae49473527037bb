/* SPDX-License-Identifier: MIT */
/*
 * fdstore.h - descriptors of this process by number, for whoever needs a duplicate later.
 */
#ifndef STASIS_GPU_FDSTORE_H
#define STASIS_GPU_FDSTORE_H

#include <stdint.h>

#include "proto/control/fault.h"

struct fdstore;

/* Raises the soft limit of open files to the hard one. */
struct fdstore *fdstore_new(void);
/* Closes all. NULL is fine. */
void fdstore_free(struct fdstore *s);
/* Keep a duplicate of fd, which stays the caller's. Returns its id (0, 1, ...), or -1. */
int fdstore_put(struct fdstore *s, int fd, struct fault *f);
/* A new duplicate, close-on-exec, the caller's; or -1. */
int fdstore_take(const struct fdstore *s, int64_t id, struct fault *f);

#endif
