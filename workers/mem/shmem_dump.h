/* SPDX-License-Identifier: MIT */
/*
 * shmem_dump.h - dump: shared anonymous memory and memory files, each object once.
 */
#ifndef STASIS_MEM_SHMEM_DUMP_H
#define STASIS_MEM_SHMEM_DUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "workers/mem/pages.h"

struct shmem_seen {
	uint64_t id;			/* inode number: the N of pagemap-shmem-N.img */
	pid_t pid;			/* a mapping to open it by */
	uint64_t start, end;
	uint32_t huge;			/* a System V segment: HUGETLB_SIZE_BITS, or 0 */
};

struct shmems {
	struct shmem_seen *seen;
	size_t n, cap;
};

/* False when it is there already. */
bool shmems_add(struct shmems *all, const struct shmem_seen *one);
void shmems_free(struct shmems *all);

/* Write the contents of every object to pagemap-shmem-ID.img and pages-N.img. */
int shmems_write(const struct shmems *all, struct page_writer *w, struct fault *f);

/* The same for a memory file, unless it was written already as anonymous memory. */
int shmem_write_file(struct shmems *all, const MemoryFile *m, struct page_writer *w,
		     struct fault *f);

#endif
