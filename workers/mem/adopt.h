/* SPDX-License-Identifier: MIT */
/*
 * adopt.h - restore: shared anonymous memory in the form CRIU 4.2 writes it.
 */
#ifndef STASIS_MEM_ADOPT_H
#define STASIS_MEM_ADOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/images/memory.pb-c.h"

struct adopted {
	uint32_t file_id;
	uint32_t inode_id;
	uint64_t shmid;			/* 0: a real memfd */
};

struct adoption {
	struct adopted *file;
	size_t n, cap;
	bool loaded;
};

/*
 * Turn a mapping of a "memfd" that is shared anonymous memory into what it is; leave others alone.
 * files.img and memfd.img are read when the first such mapping comes.
 */
int adopt_vma(struct adoption *a, int image_dir, VmaEntry *e, struct fault *f);
void adoption_free(struct adoption *a);

#endif
