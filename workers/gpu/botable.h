/* SPDX-License-Identifier: MIT */
/*
 * botable.h - buffers that files and processes share: who owns each, is it there yet, where is its
 * descriptor.
 *
 * The table lies in shared memory (a memfd): processes forked from this worker see the same one. It
 * grows in botable_reserve alone, which must come before any fork.
 */
#ifndef STASIS_GPU_BOTABLE_H
#define STASIS_GPU_BOTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

#define BO_NO_OWNER UINT32_MAX

/*
 * Who should own a buffer: KFD, then a node that made it, then one that has it from another device.
 */
enum bo_rank { BO_RANK_KFD, BO_RANK_OWN, BO_RANK_IMPORT };

enum bo_state {
	BO_UNKNOWN,		/* named by importers only */
	BO_OWNED,		/* somebody will make it */
	BO_PUBLISHED,		/* store_id can be taken */
};

struct bo {
	uint64_t key;		/* of the dmabuf at the dump: its inode number; never 0 */
	uint32_t owner;		/* id of the file that has (or makes) it; BO_NO_OWNER */
	uint32_t rank;		/* of the claim that won: lower wins */
	uint32_t state;		/* enum bo_state */
	uint32_t importers;	/* files that have it besides the owner */
	uint32_t waiters;	/* how often an importer came too early */
	uint32_t importer;	/* id of the first of them, BO_NO_OWNER: none */
	uint32_t index;		/* dump: of the buffer among its owner's */
	uint32_t handle;	/* dump: what CRIU shall take for its identity; 0: not said */
	int64_t store_id;	/* in the fdstore, -1: none */
};

struct botable;

struct botable *botable_new(struct fault *f);
void botable_free(struct botable *t);
/* Have room for n buffers in all. Pointers from before are void. */
int botable_reserve(struct botable *t, size_t n, struct fault *f);
size_t botable_count(const struct botable *t);
/* In the order in which they were added. */
struct bo *botable_at(struct botable *t, size_t i);

/* NULL: no such key. */
struct bo *botable_find(struct botable *t, uint64_t key);
/*
 * File `owner` can be the owner. The lowest (rank, owner) wins; the loser counts as an importer.
 * Returns the row, or NULL with f set: key 0, table full, or (strict) the key has an owner already.
 */
struct bo *botable_claim(struct botable *t, uint64_t key, uint32_t owner, uint32_t rank, int strict,
			 struct fault *f);
/* File `importer` has it too, or will want it. */
struct bo *botable_import(struct botable *t, uint64_t key, uint32_t importer, struct fault *f);
/* It exists: descriptor store_id of the fdstore. Twice is a fault. */
int botable_publish(struct botable *t, uint64_t key, int64_t store_id, struct fault *f);
/* The descriptor's number, or -1 when it is not there yet: the caller is counted as waiting. */
int64_t botable_want(struct botable *t, uint64_t key);

#endif
