/* SPDX-License-Identifier: MIT */
/*
 * install.h - give tasks their descriptors, directories and umask.
 */
#ifndef STASIS_FILES_INSTALL_H
#define STASIS_FILES_INSTALL_H

#include "workers/files/prepare.h"

/*
 * Every task exists: create every file that has a user or waits in a socket (lend: ids), but
 * those that need a socket which net has not made yet.
 */
int install_begin(struct files *fs, const uint32_t *lend, size_t n, struct fault *f);

/*
 * No task exists: create a few of the files that need none. Returns whether more of them are left.
 * A fault is kept for install_begin.
 */
bool install_early(struct files *fs);

/*
 * Create what is missing, fill the tables of these tasks (once per table), set
 * their directories and umask.
 */
int install(struct files *fs, const uint32_t *pids, size_t n, struct fault *f);

/* All tasks and threads exist: name the owners of files. */
int install_owners(struct files *fs, struct fault *f);

#endif
