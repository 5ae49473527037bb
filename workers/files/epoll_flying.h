/* SPDX-License-Identifier: MIT */
/*
 * epoll_flying.h - restore: the watches of a poll set that waits in a socket.
 */
#ifndef STASIS_FILES_EPOLL_FLYING_H
#define STASIS_FILES_EPOLL_FLYING_H

#include "workers/files/type.h"

/* Fill a set that no table has: its numbers are those of the first table that has them. */
int epoll_fill_flying(struct files *fs, const struct file *file, struct fault *f);

#endif
