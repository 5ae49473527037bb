/* SPDX-License-Identifier: MIT */
/*
 * build.h - restore: make a task's address space what the images say.
 */
#ifndef STASIS_MEM_BUILD_H
#define STASIS_MEM_BUILD_H

#include <stdbool.h>

#include "workers/mem/shmem_restore.h"
#include "workers/mem/sysv.h"
#include "workers/mem/target.h"

/*
 * Unmap what is not wanted, map, fill. The task has the target's files open at first_fd,
 * first_fd + 1, ...: they are closed. inherited: it was forked from its built parent.
 */
int build_task(struct target *t, struct shmem_pool *pool, const struct segments *segments,
	       int first_fd, bool inherited, struct fault *f);

#endif
