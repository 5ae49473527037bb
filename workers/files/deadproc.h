/* SPDX-License-Identifier: MIT */
/*
 * deadproc.h - open files of /proc whose task has ended.
 */
#ifndef STASIS_FILES_DEADPROC_H
#define STASIS_FILES_DEADPROC_H

#include "workers/files/type.h"

/*
 * Dump, for a file of /proc: 0 when path still leads to it, its task's pid when that has ended
 * ("(deleted)" is then cut off), -1 with f set when it cannot be opened again.
 */
int deadproc_pid(struct files *fs, const struct facts *x, char *path, struct fault *f);

/* Restore: the images have a file of that task, which had ended. */
void deadproc_expect(struct files *fs, uint32_t pid);

/* Before path is opened: when it is in /proc of such a task, have one with that pid. */
int deadproc_provide(struct files *fs, const char *path, struct fault *f);

/* All files are open and in place: the tasks end again. */
int deadproc_release(struct files *fs, struct fault *f);
void deadproc_end(struct files *fs);

#endif
