/* SPDX-License-Identifier: MIT */
/*
 * shmem_dump.h - dump: shared anonymous memory, each object once.
 */
#ifndef STASIS_MEM_SHMEM_DUMP_H
#define STASIS_MEM_SHMEM_DUMP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "workers/mem/pages.h"

struct shmem_seen {
	uint64_t id;			/* inode number: the N of pagemap-shmem-N.img */
	pid_t pid;			/* a mapping to open it by */
	uint64_t start, end;
};

struct shmems {
	struct shmem_seen *seen;
	size_t n, cap;
};

void shmems_add(struct shmems *all, const struct shmem_seen *one);
void shmems_free(struct shmems *all);

/* Write the contents of every object to pagemap-shmem-ID.img and pages-N.img. */
int shmems_write(const struct shmems *all, struct page_writer *w, struct fault *f);

#endif
