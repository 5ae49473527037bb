/* SPDX-License-Identifier: MIT */
/*
 * target.h - restore: the address space a task shall have, as its images say.
 */
#ifndef STASIS_MEM_TARGET_H
#define STASIS_MEM_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "proto/images/memory.pb-c.h"
#include "workers/mem/adopt.h"

/* Pages of one mapping, one after the other in the pages image. */
struct stored {
	uint64_t start, end;
	uint64_t offset;		/* in the pages image */
	uint32_t vma;			/* index in vma[] */
};

struct stored_list {
	struct stored *run;
	size_t n, cap;
};

/* A pages image, mapped for reading or read. */
struct pages_image {
	uint32_t id;
	const char *data;		/* NULL when size is 0 */
	uint64_t size;
};

/* A part of the parent's address space that the child takes over (cow.c). */
struct kept {
	uint64_t start, end;
	uint32_t vma;			/* of the child */
	uint32_t from;			/* of the parent */
};

struct address_range {
	uint64_t start, end;
};

struct range_list {
	struct address_range *range;
	size_t n, cap;
};

struct target {
	pid_t pid;
	struct target *parent;		/* NULL: the root, or its parent is not restored */
	MmEntry *mm;
	VmaEntry **vma;			/* mappings in address order; belongs to mm */
	size_t n;
	VmaEntry **guard;		/* guard regions in address order; belongs to mm */
	size_t nguards;
	int vdso, vvar;			/* indices in vma[], -1: none */
	bool redirect;			/* the vDSO becomes jumps to this kernel's (vdso.c) */
	struct stored_list stored;
	uint64_t *stored_bytes;		/* by mapping */
	struct pages_image pages;
	/* Files to be passed: a distinct (id, open flags) each. */
	uint32_t *file_id, *file_flags;
	size_t nfiles, files_cap;
	int *slot;			/* by mapping: index among the files, -1: none */
	uint32_t exe_slot;
	/* What it takes over from its parent. */
	bool has_heirs;			/* a child takes something over from it */
	struct kept *kept;
	size_t nkept, kept_cap;
	struct stored_list differs;	/* to be written over what was taken over */
	struct range_list drop;		/* pages the child does not have */
	uint64_t compared, same, restored;	/* pages, for the statistics */
	struct gate *gate;
};

/* Read and check mm-PID.img, pagemap-PID.img and its pages image. */
int target_load(struct target *t, int image_dir, struct adoption *adoption, struct fault *f);
void target_free(struct target *t);

/*
 * Read a pagemap image and map its pages image. Runs are checked to be ordered, whole pages and to
 * add up to the size of the pages image; vma of each is 0.
 */
int pagemap_load(int image_dir, int type, uint64_t id, struct stored_list *out,
		 struct pages_image *pages, struct fault *f);
void pages_image_close(struct pages_image *p);

/* How the file of a mapping is to be opened. */
uint32_t target_open_flags(const VmaEntry *e);

#endif
