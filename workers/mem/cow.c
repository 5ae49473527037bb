/* SPDX-License-Identifier: MIT */
/*
 * cow.c - restore: what a child takes over from its parent by the fork.
 *
 * Pages that parent and child had in common since a fork lie twice in the images. To have them
 * once in memory again the parent is built first; the child then only drops what it does not
 * have, maps what is missing and writes the pages that differ. Whether a page is common is
 * decided by its bytes.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/mem/cow.h"

#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/common/hugetlb.h"
#include "workers/mem/vma.h"

#define SAME_FLAGS (MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE | \
		    MAP_HUGETLB | HUGETLB_SIZE_BITS)
#define SAME_STATUS (VMA_FILE_PRIVATE | VMA_FILE_SHARED | VMA_ANON_SHARED | VMA_ANON_PRIVATE)
#define NOT_FORKED ((1ull << MADV_DONTFORK) | (1ull << MADV_WIPEONFORK))

/*
 * Can the child's mapping be the parent's after a fork? Advice is compared because most of it
 * cannot be taken back.
 */
static bool is_heir(const VmaEntry *c, const VmaEntry *p)
{
	if (vma_is_special(c) || vma_is_special(p) || vma_is_ring(c) || vma_is_ring(p) ||
	    vma_is_sysv(c) || vma_is_sysv(p) || vma_is_socket(c) || vma_is_socket(p) ||
	    vma_is_device(c) || vma_is_device(p) ||
	    (c->flags & MAP_DROPPABLE))
		return false;
	if (((c->flags ^ p->flags) & SAME_FLAGS) || ((c->status ^ p->status) & SAME_STATUS))
		return false;
	/* Huge pages can neither be mapped nor dropped in part. */
	if ((c->flags & MAP_HUGETLB) && (c->start != p->start || c->end != p->end))
		return false;
	if (c->madv != p->madv || (p->madv & NOT_FORKED) || c->pkey != p->pkey)
		return false;
	if (vma_is(c, VMA_ANON_PRIVATE))
		return true;
	return c->shmid == p->shmid && c->fdflags == p->fdflags &&
	       c->pgoff - c->start == p->pgoff - p->start;
}

static void find_kept(struct target *t)
{
	const struct target *p = t->parent;
	size_t c = 0, i = 0;
	struct kept *k;

	while (c < t->n && i < p->n) {
		const VmaEntry *ce = t->vma[c], *pe = p->vma[i];

		if (ce->start < pe->end && pe->start < ce->end && is_heir(ce, pe)) {
			k = grow(&t->kept, t->nkept++, &t->kept_cap, sizeof(*k));
			k->start = ce->start > pe->start ? ce->start : pe->start;
			k->end = ce->end < pe->end ? ce->end : pe->end;
			k->vma = c;
			k->from = i;
		}
		if (ce->end <= pe->end)
			c++;
		else
			i++;
	}
}

/* The child must write the bytes [start, end) of one of its runs. */
static void add_difference(struct target *t, const struct stored *run, uint64_t start, uint64_t end)
{
	struct stored_list *d = &t->differs;
	struct stored *last = d->n ? &d->run[d->n - 1] : NULL;

	if (last && last->end == start && last->vma == run->vma) {
		last->end = end;
		return;
	}
	last = grow(&d->run, d->n++, &d->cap, sizeof(*last));
	*last = (struct stored){ start, end, run->offset + start - run->start, run->vma };
}

static void add_drop(struct target *t, uint64_t start, uint64_t end)
{
	struct address_range *r = grow(&t->drop.range, t->drop.n++, &t->drop.cap, sizeof(*r));

	*r = (struct address_range){ start, end };
}

/* Both have pages in [start, end). Returns how many are the same. */
static size_t compare_pages(struct target *t, const struct stored *c, const struct stored *p,
			    uint64_t start, uint64_t end)
{
	const char *mine = t->pages.data + c->offset, *its = t->parent->pages.data + p->offset;
	size_t same = 0;
	uint64_t at;

	t->compared += (end - start) / STASIS_PAGE;
	for (at = start; at < end; at += STASIS_PAGE) {
		if (!memcmp(mine + (at - c->start), its + (at - p->start), STASIS_PAGE))
			same++;
		else
			add_difference(t, c, at, at + STASIS_PAGE);
	}
	return same;
}

/* The first run that ends behind an address; the index only moves forward. */
static const struct stored *run_at(const struct stored_list *l, size_t *i, uint64_t at)
{
	while (*i < l->n && l->run[*i].end <= at)
		++*i;
	return *i < l->n ? &l->run[*i] : NULL;
}

/* Where the run begins or ends next, seen from an address; at most `limit`. */
static uint64_t next_edge(const struct stored *run, uint64_t at, uint64_t limit)
{
	uint64_t edge = !run ? limit : run->start > at ? run->start : run->end;

	return edge < limit ? edge : limit;
}

struct walk {
	struct target *t;
	size_t mine, its;		/* positions among the stored runs */
	size_t same;
};

/* Go through [at, end); kept: the parent's pages are there after the fork. */
static void walk_range(struct walk *w, uint64_t at, uint64_t end, bool kept)
{
	uint64_t next;

	for (; at < end; at = next) {
		const struct stored *c = run_at(&w->t->stored, &w->mine, at);
		const struct stored *p = kept ? run_at(&w->t->parent->stored, &w->its, at) : NULL;
		bool in_child = c && c->start <= at, in_parent = p && p->start <= at;

		next = next_edge(c, at, next_edge(p, at, end));
		if (in_child && in_parent)
			w->same += compare_pages(w->t, c, p, at, next);
		else if (in_child)
			add_difference(w->t, c, at, next);
		else if (in_parent)
			add_drop(w->t, at, next);
	}
}

void cow_compare(struct target *t)
{
	struct walk w = { .t = t };
	uint64_t at = 0;
	size_t i;

	/* After an exec nothing is in common; the kernel's rule, and a cheap one. */
	if (!t->parent || t->parent->mm->exe_file_id != t->mm->exe_file_id)
		return;
	find_kept(t);
	for (i = 0; i < t->nkept; i++) {
		walk_range(&w, at, t->kept[i].start, false);
		walk_range(&w, t->kept[i].start, t->kept[i].end, true);
		at = t->kept[i].end;
	}
	walk_range(&w, at, USER_END, false);
	t->same = w.same;
	if (w.same) {
		__atomic_store_n(&t->parent->has_heirs, true, __ATOMIC_RELAXED);
		return;
	}
	t->nkept = t->differs.n = t->drop.n = 0;
}
