/* SPDX-License-Identifier: MIT */
/*
 * kept.h - fdinfo files of a task that are open from the preflight to the freeze.
 */
#ifndef STASIS_FILES_KEPT_H
#define STASIS_FILES_KEPT_H

#include <stddef.h>
#include <sys/types.h>

struct files;

/*
 * Room for the fdinfo of descriptors 0, 1, ... of a task that has n: as many (into *room) as may be
 * kept, each -1. It stays ours. NULL: none may.
 */
int *kept_new(struct files *fs, pid_t pid, size_t n, size_t *room);
/* The same room later, NULL when there is none. */
int *kept_of(struct files *fs, pid_t pid, size_t *room);
/* Close what is left. */
void kept_end(struct files *fs);

#endif
