/* SPDX-License-Identifier: MIT */
/*
 * moment.h - restore: names that exist for a moment only, and do not stay when we are killed in it.
 */
#ifndef STASIS_FILES_MOMENT_H
#define STASIS_FILES_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control/fault.h"

/* What is in the file system now: memory shared with a keeper. */
struct moments;

struct moments *moments_open(struct fault *f);
void moments_close(struct moments *m);
/* For the keeper, when we are dead: remove what is there. */
void moments_undo(const struct moments *m);

/*
 * The directories of path that are missing are made, and removed again. moment_begin returns -1
 * with errno when they cannot be; moment_end is called then too. Two at most are nested.
 */
int moment_begin(struct moments *m, const char *path);
void moment_end(struct moments *m);

/* What puts a name there: 0, or -1 with errno (EEXIST: another is tried). */
typedef int (*put_name)(const char *path, void *arg);

/*
 * Have the name appear, open it with O_PATH and remove it again. Returns the descriptor.
 * When the name is taken, one beside it is used: NAME.cr.ID.ghost.
 */
int moment_name(struct moments *m, const char *name, uint32_t id, put_name put, void *arg,
		struct fault *f);

#endif
