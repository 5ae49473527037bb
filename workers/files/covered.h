/* SPDX-License-Identifier: MIT */
/*
 * covered.h - open files below directories that other mounts cover.
 */
#ifndef STASIS_FILES_COVERED_H
#define STASIS_FILES_COVERED_H

#include "workers/files/type.h"

/*
 * Dump: path does not lead to x. 1 when it does in x's own mount alone, whose path *mount receives
 * (the caller frees it); 0 when it does not; -1 with f set when that mount cannot be reached.
 */
int covered_find(const struct facts *x, const char *path, char **mount, struct fault *f);

/* Restore: open path in that mount alone. The caller owns the descriptor. */
int covered_open(const char *mount, const char *path, int flags, struct fault *f);

#endif
