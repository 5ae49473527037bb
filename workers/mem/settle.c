/* SPDX-License-Identifier: MIT */
/*
 * settle.c - restore: what a mapping gets after its contents.
 *
 * A mapping whose contents will be written is made writable first; also because a mapping that
 * ever was writable counts against the commit limit, and the original did (VM_ACCOUNT).
 *
 * Rights:   none; it only plans.
 * Holds:    nothing.
 */
#include "workers/mem/settle.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/mem/vma.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

/* Advice that a kernel built without THP or KSM does not know; the program runs as well without. */
#define OPTIONAL ((1ull << MADV_HUGEPAGE) | (1ull << MADV_NOHUGEPAGE) | (1ull << MADV_MERGEABLE))

static void add(struct plan *p, enum plan_want want, const char *what, uint32_t nr, uint64_t start,
		uint64_t end, uint64_t third, uint64_t fourth)
{
	plan_add(p, want, what, start, nr, (uint64_t[6]){ start, end - start, third, fourth });
}

uint32_t settle_first_prot(const struct target *t, uint32_t vma)
{
	uint32_t prot = t->vma[vma]->prot;

	return t->stored_bytes[vma] ? prot | PROT_WRITE : prot;
}

static bool is_execute_only(const VmaEntry *e)
{
	return e->prot == PROT_EXEC;
}

static uint32_t highest_key(const struct target *t)
{
	uint32_t key = 0;
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->vma[i]->pkey > key)
			key = t->vma[i]->pkey;
	return key;
}

/*
 * The kernel hands out the lowest free key, so all up to the highest are allocated; the one of
 * execute-only memory is freed again, because the kernel takes it itself when it maps that.
 */
void settle_plan_keys(struct plan *p, const struct target *t, bool inherited)
{
	uint32_t have = inherited && t->parent ? highest_key(t->parent) : 0, key;
	size_t i;

	for (key = have + 1; key <= highest_key(t); key++)
		plan_add(p, WANT_SUCCESS, "allocate a protection key", key, SYS_pkey_alloc,
			 (uint64_t[6]){ 0 });
	for (i = 0; i < t->n; i++) {
		if (t->vma[i]->pkey <= have || !is_execute_only(t->vma[i]))
			continue;
		plan_add(p, WANT_SUCCESS, "free a protection key", t->vma[i]->pkey, SYS_pkey_free,
			 (uint64_t[6]){ t->vma[i]->pkey });
		break;
	}
}

void settle_plan_parent_guards(struct plan *p, const struct target *t)
{
	const struct target *parent = t->parent;
	size_t i = 0, k = 0;
	uint64_t start, end;

	while (i < parent->nguards && k < t->nkept) {
		const VmaEntry *g = parent->guard[i];

		start = g->start > t->kept[k].start ? g->start : t->kept[k].start;
		end = g->end < t->kept[k].end ? g->end : t->kept[k].end;
		if (start < end)
			add(p, WANT_SUCCESS, "remove a guard region", SYS_madvise, start, end,
			    MADV_GUARD_REMOVE, 0);
		if (g->end < t->kept[k].end)
			i++;
		else
			k++;
	}
}

static void plan_protection(struct plan *p, const struct target *t, uint32_t vma)
{
	const VmaEntry *e = t->vma[vma];

	if (e->pkey && !is_execute_only(e))
		add(p, WANT_SUCCESS, "set a protection key", SYS_pkey_mprotect, e->start, e->end,
		    e->prot, e->pkey);
	else if (settle_first_prot(t, vma) != e->prot)
		add(p, WANT_SUCCESS, "protect", SYS_mprotect, e->start, e->end, e->prot, 0);
}

static void plan_advice(struct plan *p, const VmaEntry *e)
{
	int advice;

	for (advice = 0; advice < 64; advice++)
		if (e->madv & (1ull << advice))
			add(p, OPTIONAL & (1ull << advice) ? WANT_ANYTHING : WANT_SUCCESS, "advise",
			    SYS_madvise, e->start, e->end, advice, 0);
}

/*
 * mlock brings all pages in. Images do not tell it from MLOCK_ONFAULT, but a writable mapping
 * that lacks pages was not locked the first way. Where there are no pages to bring in (PROT_NONE,
 * beyond the end of a file) mlock says ENOMEM, locked though the mapping is then: what must
 * succeed is the lock without pages.
 */
static void plan_lock(struct plan *p, const struct target *t, uint32_t vma)
{
	const VmaEntry *e = t->vma[vma];
	bool partial = vma_is(e, VMA_ANON_PRIVATE) && (e->prot & PROT_WRITE) &&
		       t->stored_bytes[vma] < e->end - e->start;

	if (!(e->flags & MAP_LOCKED))
		return;
	add(p, WANT_SUCCESS, "lock", SYS_mlock2, e->start, e->end, MLOCK_ONFAULT, 0);
	if (!partial)
		add(p, WANT_ANYTHING, "fill", SYS_mlock2, e->start, e->end, 0, 0);
}

void settle_plan(struct plan *p, const struct target *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		if ((vma_is_special(t->vma[i]) && !t->redirect) || vma_is_socket(t->vma[i]) ||
		    vma_is_device(t->vma[i]))
			continue;
		plan_protection(p, t, i);
		if (vma_is_special(t->vma[i]))
			continue;	/* advice on it was the kernel's own */
		plan_advice(p, t->vma[i]);
		plan_lock(p, t, i);
	}
	for (i = 0; i < t->nguards; i++)
		add(p, WANT_SUCCESS, "guard", SYS_madvise, t->guard[i]->start, t->guard[i]->end,
		    MADV_GUARD_INSTALL, 0);
}
