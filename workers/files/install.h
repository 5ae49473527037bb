/* SPDX-License-Identifier: MIT */
/*
 * install.h - give tasks their descriptors, directories and umask.
 */
#ifndef STASIS_FILES_INSTALL_H
#define STASIS_FILES_INSTALL_H

#include "workers/files/prepare.h"

/* A descriptor on its way into a task. */
struct placement {
	int fd;			/* here */
	int at;			/* there */
	int flags;		/* 0 or O_CLOEXEC */
};

/*
 * Create every file that has a user, fill the tables of these tasks (once per table), set
 * their directories and umask.
 */
int install(struct files *fs, const uint32_t *pids, size_t n, struct fault *f);

/* Pass descriptors to a task; the numbers from top on are free there. */
int install_fds(struct task_files *t, const struct placement *p, size_t n, uint32_t top,
		struct fault *f);

/* All tasks and threads exist: name the owners of files. */
int install_owners(struct files *fs, struct fault *f);

#endif
