/* SPDX-License-Identifier: MIT */
/*
 * pool.c - small pieces of memory by the ten thousand, which are freed all at once.
 *
 * A block is so large that malloc maps it: its pages come zeroed from the kernel when somebody
 * writes to them, which may be another thread.
 *
 * Rights:   none.
 * Holds:    the blocks of each pool.
 */
#include "workers/common/pool.h"

#include <stdalign.h>
#include <stdlib.h>

#include "proto/control/util.h"

#define BLOCK (256 * 1024)

struct pool_block {
	struct pool_block *older;
	size_t used, room;
	alignas(max_align_t) char data[];
};

void *pool_take(struct pool *p, size_t bytes)
{
	const size_t unit = alignof(max_align_t);
	struct pool_block *b = p->block;
	void *piece;

	bytes = (bytes + unit - 1) / unit * unit;
	if (!b || b->room - b->used < bytes) {
		b = xcalloc(1, sizeof(*b) + (bytes > BLOCK ? bytes : BLOCK));
		b->room = bytes > BLOCK ? bytes : BLOCK;
		b->older = p->block;
		p->block = b;
	}
	piece = b->data + b->used;
	b->used += bytes;
	return piece;
}

void pool_free(struct pool *p)
{
	struct pool_block *b, *older;

	for (b = p->block; b; b = older) {
		older = b->older;
		free(b);
	}
	p->block = NULL;
}
