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
 * kept (half of what the worker may have, for all tasks), each -1. It stays ours. NULL: none may.
 */
int *kept_new(struct files *fs, pid_t pid, size_t n, size_t *room);
/*
 * The same room later, when its n descriptors are duplicated; NULL when there is none. Where the
 * worker may not have so many beside what it keeps, all that is kept is closed.
 */
int *kept_of(struct files *fs, pid_t pid, size_t n, size_t *room);
/* Close what is left. */
void kept_end(struct files *fs);

#endif
