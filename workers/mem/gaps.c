/* SPDX-License-Identifier: MIT */
/*
 * gaps.c - restore: addresses that no task uses, for the agents' regions.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/mem/gaps.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/mem/vma.h"

#define LOWEST 0x100000ul		/* above any vm.mmap_min_addr in use */
#define STACK_ROOM (256ul << 20)	/* a stack may grow into this while it is being filled */

static int by_start(const void *a, const void *b)
{
	const struct address_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_size(const void *a, const void *b)
{
	const struct address_range *x = a, *y = b;
	uint64_t xs = x->end - x->start, ys = y->end - y->start;

	return xs > ys ? -1 : xs < ys;
}

static void add(struct range_list *l, uint64_t start, uint64_t end)
{
	struct address_range *r = grow(&l->range, l->n++, &l->cap, sizeof(*r));

	*r = (struct address_range){ start, end };
}

static void add_target(struct range_list *used, const struct target *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];
		uint64_t room = e->flags & MAP_GROWSDOWN ? STACK_ROOM : STASIS_PAGE;

		add(used, e->start > room ? e->start - room : 0, e->end + STASIS_PAGE);
	}
}

void gaps_find(struct target *const *target, size_t n, size_t max, struct range_list *out)
{
	struct range_list used = { 0 };
	uint64_t at = LOWEST;
	size_t i;

	for (i = 0; i < n; i++)
		add_target(&used, target[i]);
	add(&used, USER_END - STASIS_PAGE, USER_END);
	qsort(used.range, used.n, sizeof(*used.range), by_start);
	for (i = 0; i < used.n; i++) {
		if (used.range[i].start > at)
			add(out, at, used.range[i].start);
		if (used.range[i].end > at)
			at = used.range[i].end;
	}
	free(used.range);
	qsort(out->range, out->n, sizeof(*out->range), by_size);
	if (out->n > max)
		out->n = max;
}
