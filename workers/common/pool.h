/* SPDX-License-Identifier: MIT */
/*
 * pool.h - small pieces of memory by the ten thousand, which are freed all at once.
 */
#ifndef STASIS_POOL_H
#define STASIS_POOL_H

#include <stddef.h>

struct pool_block;

/* {0}: empty. */
struct pool {
	struct pool_block *block;	/* the newest */
};

/*
 * Zeroed memory, aligned for anything, and not touched before; it stays until pool_free. For one
 * thread.
 */
void *pool_take(struct pool *p, size_t bytes);

/* Free all; the pool is empty again. */
void pool_free(struct pool *p);

#endif
