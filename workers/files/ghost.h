/* SPDX-License-Identifier: MIT */
/*
 * ghost.h - dump of open files whose name is gone.
 */
#ifndef STASIS_FILES_GHOST_H
#define STASIS_FILES_GHOST_H

#include "workers/files/type.h"

/*
 * path is where an open file claims to be. When it does not lead there, "(deleted)" is cut
 * off, and a remap for x->id with what goes with it is written; or *below receives the mount in
 * which it does (covered.h), for the caller to free.
 */
int remap_dump(struct files *fs, const struct facts *x, char *path, char **below, struct fault *f);

/* Before the freeze: would that be refused? */
int remap_preflight(struct files *fs, const struct facts *x, struct fault *f);

/* Is the deleted file among those whose contents were written? */
bool ghost_has(const struct files *fs, dev_t dev, ino_t ino);

/* "a/b/c" to "a/c". False when there is no directory left to take out. */
bool ghost_drop_parent(char *path);

/* Close remap-fpath.img. */
int ghost_flush(struct files *fs, struct fault *f);

/* Forget; remove_links undoes what a failed dump left in the tasks' directories. */
void ghost_end(struct files *fs, bool remove_links);

#endif
