/* SPDX-License-Identifier: MIT */
/*
 * shmem_restore.h - restore: shared anonymous memory and memory files, each object made once,
 * in this worker.
 */
#ifndef STASIS_MEM_SHMEM_RESTORE_H
#define STASIS_MEM_SHMEM_RESTORE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/images/files.pb-c.h"
#include "workers/mem/target.h"

struct shmem {
	uint64_t id;
	uint64_t size;			/* bytes: a file's, or as far as is mapped or stored */
	struct stored_list stored;
	struct pages_image pages;
	int fd;				/* -1 until it is needed */
	uint32_t huge;			/* MAP_HUGETLB and the page's size; 0: small pages */
	MemfdInodeEntry *file;		/* memfd.img has it too; NULL: only mapped */
};

struct shmem_pool {
	struct shmem *shmem;
	size_t n, cap;
};

/* Read memfd.img and the images of what it names. Before shmem_pool_add. */
int shmem_pool_files(struct shmem_pool *pool, int image_dir, struct fault *f);
/* Note the objects that a task maps, and read and check their images. */
int shmem_pool_add(struct shmem_pool *pool, const struct target *t, int image_dir, struct fault *f);
void shmem_pool_free(struct shmem_pool *pool);

/* A descriptor of the object, contents in place; the pool keeps it. -1 with f set. */
int shmem_open(struct shmem_pool *pool, uint64_t id, struct fault *f);

#endif
