/* SPDX-License-Identifier: MIT */
/*
 * windows.c - the gate memory of a restore: sizes, addresses, mapping.
 *
 * Rights:   none.
 * Holds:    the memory's descriptor (births.memory) and one gate per task.
 */
#include "coordinator/windows.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include "coordinator/births.h"
#include "proto/control/util.h"

#define ARENA (1ul << 20)
#define ARENA_PER_THREAD 512ul		/* in addition */
#define ARENA_MAX (8ul << 20)
#define SLOT_ALIGN (2ul << 20)		/* one page table for small trees */

static uint64_t window_size(const struct task *t)
{
	uint64_t arena = ARENA + t->nthreads * ARENA_PER_THREAD;

	return gate_region_size(t->nthreads, arena < ARENA_MAX ? arena : ARENA_MAX);
}

/* Is there nothing of our own? The root task starts as a copy of this process. */
static bool free_here(uint64_t start, uint64_t end, uint64_t *after, struct fault *f)
{
	AUTO_FCLOSE FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t a, b;
	char line[512];

	if (!maps) {
		fault(f, errno, "read /proc/self/maps");
		return false;
	}
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &a, &b) == 2 && a < end && b > start) {
			*after = b;
			return false;
		}
	return true;
}

/* From the middle of a gap upwards, then from its start: far from what grows at its edges. */
static uint64_t place_in(const AddressRange *gap, uint64_t size, struct fault *f)
{
	uint64_t from[2] = { gap->start + (gap->end - gap->start) / 2, gap->start }, at, after;
	int i;

	for (i = 0; i < 2; i++)
		for (at = from[i]; !f->code; at = after) {
			at = (at + SLOT_ALIGN - 1) & ~(SLOT_ALIGN - 1);
			if (at > gap->end || gap->end - at < size)
				break;
			if (free_here(at, at + size, &after, f))
				return at;
		}
	return 0;
}

static int place_slots(struct births *p, struct fault *f)
{
	uint64_t at = 0;
	size_t i;

	for (i = 0; i < p->ngaps && !at && !f->code; i++)
		if (p->gaps[i]->start < p->gaps[i]->end)
			at = place_in(p->gaps[i], 2 * p->slot_size, f);
	if (!at)
		return fault(f, -ENOMEM, "no gap of %#" PRIx64 " bytes is free in all address "
			     "spaces of the tree: there is no room for the agents",
			     2 * p->slot_size);
	p->slot[0] = at;
	p->slot[1] = at + p->slot_size;
	return 0;
}

int windows_make(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);
	struct gate_place *w;
	size_t i;

	for (i = 0; i < p->nall; i++) {
		w = &birth_of(p->all[i])->place;
		w->pid = p->all[i]->pid;
		w->nmailboxes = p->all[i]->nthreads;
		w->size = window_size(p->all[i]);
		w->file_offset = p->memory_size;
		p->memory_size += w->size;
		if (w->size > p->slot_size)
			p->slot_size = w->size;
	}
	if (place_slots(p, f) < 0)
		return -1;
	for (i = 0; i < p->nall; i++)
		birth_of(p->all[i])->place.base = p->slot[birth_of(p->all[i])->depth % 2];
	p->memory = memfd_create("stasis-gates", MFD_CLOEXEC);
	if (p->memory < 0 || ftruncate(p->memory, p->memory_size) < 0)
		return fault(f, errno, "make the memory of the agents");
	return 0;
}

int window_open(struct job *job, struct task *t, struct fault *f)
{
	t->gate = gate_open(births_of(job)->memory, &birth_of(t)->place, true, GATE_MODE_RESTORE,
			    f);
	return t->gate ? gate_guard(t->gate, f) : -1;
}

void window_close(struct task *t)
{
	if (!t->gate)
		return;
	gate_unguard(t->gate);
	gate_close(t->gate);
	t->gate = NULL;
}
