/* SPDX-License-Identifier: MIT */
/*
 * vdso.c - restore: the areas every kernel provides itself, [vdso] and [vvar*].
 *
 * The program has called functions of the vDSO by address, so it must be where it was. The same
 * layout: the new task's own areas are moved there. Another layout: the old vDSO becomes ordinary
 * memory whose functions jump to this kernel's, which is put into a hole.
 *
 * Kernel rules: each area can be moved only whole (several vvar areas since Linux 6.13); the kernel
 * follows a move only when the task makes it itself; code finds the vvars relative to itself.
 *
 * Rights:   CAP_SYS_PTRACE over the task.
 * Holds:    nothing.
 */
#include "workers/mem/vdso.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"
#include "workers/mem/vdso_symbols.h"
#include "workers/mem/vma.h"

#define HOLE_FROM 0x10000000ul		/* look for room from here on, when there is none near by */

int vdso_find(pid_t pid, struct areas *out, struct fault *f)
{
	AUTO_FREE char *text = NULL;
	char *line, *save, *end;
	struct area *a;

	out->n = 0;
	text = procfs_read(pid, 0, "maps", NULL, f);
	if (!text)
		return -1;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool vdso = strstr(line, " [vdso]");

		if (!vdso && !strstr(line, " [vvar]") && !strstr(line, " [vvar_vclock]"))
			continue;
		if (out->n == AREAS_MAX)
			return fault(f, -EPROTO, "task %d has more than %d vvar areas", pid,
				     AREAS_MAX);
		a = &out->area[out->n++];
		a->start = strtoull(line, &end, 16);
		a->end = strtoull(end + 1, NULL, 16);
		a->vdso = vdso;
		a->to = 0;
	}
	return 0;
}

/* This process' areas, which are as every task's: one vDSO and the vvars as one range. */
static int own_layout(struct address_range *vdso, struct address_range *vvar, struct fault *f)
{
	struct areas own;
	size_t i;

	if (vdso_find(getpid(), &own, f) < 0)
		return -1;
	*vdso = *vvar = (struct address_range){ 0 };
	for (i = 0; i < own.n; i++) {
		struct address_range *r = own.area[i].vdso ? vdso : vvar;

		if (!r->start)
			r->start = own.area[i].start;
		else if (r->end != own.area[i].start)
			return fault(f, -EPROTO,
				     "the vvar areas of this kernel are not neighbours");
		r->end = own.area[i].end;
	}
	return 0;
}

/* The vDSO as the images have it, or NULL when they do not have all of it. */
static const char *image_of_vdso(const struct target *t)
{
	const VmaEntry *e = t->vma[t->vdso];
	size_t i;

	for (i = 0; i < t->stored.n; i++)
		if (t->stored.run[i].start <= e->start && t->stored.run[i].end >= e->end)
			return t->pages.data + t->stored.run[i].offset +
			       (e->start - t->stored.run[i].start);
	return NULL;
}

static bool same_functions(const char *theirs, const char *ours, size_t size)
{
	struct vdso_symbols a, b;
	size_t i;

	if (!memcmp(theirs, ours, size))
		return true;
	if (vdso_symbols(theirs, size, &a) < 0 || vdso_symbols(ours, size, &b) < 0 || a.n != b.n)
		return false;
	for (i = 0; i < a.n; i++) {
		const struct vdso_symbol *s = vdso_symbol_find(&b, a.symbol[i].name);

		if (!s || s->offset != a.symbol[i].offset)
			return false;
	}
	return true;
}

/* The vvars must keep their distance to the vDSO. */
static bool same_places(const struct target *t, const struct address_range *vdso,
			const struct address_range *vvar)
{
	const VmaEntry *v = t->vma[t->vdso], *d = t->vvar < 0 ? NULL : t->vma[t->vvar];

	if (v->end - v->start != vdso->end - vdso->start || !d != !vvar->start)
		return false;
	return !d || (d->end - d->start == vvar->end - vvar->start &&
		      d->start - v->start == vvar->start - vdso->start);
}

int vdso_check(struct target *t, struct fault *f)
{
	struct address_range vdso, vvar;
	struct vdso_symbols theirs;
	const char *image;
	const VmaEntry *e;

	if (t->vdso < 0)
		return 0;		/* the program has unmapped it */
	if (own_layout(&vdso, &vvar, f) < 0)
		return -1;
	e = t->vma[t->vdso];
	image = image_of_vdso(t);
	if (!image)
		return fault(f, -EBADMSG, "pagemap-%d.img does not have the whole vDSO %" PRIx64
			     "-%" PRIx64, t->pid, e->start, e->end);
	if (vdso.start && same_places(t, &vdso, &vvar) &&
	    same_functions(image, (const char *)vdso.start, e->end - e->start))
		return 0;
	if (!vdso.start)
		return fault(f, -ENOTSUP, "task %d uses a vDSO and this kernel has none", t->pid);
	if (vdso_symbols(image, e->end - e->start, &theirs) < 0)
		return fault(f, -ENOTSUP,
			     "task %d was dumped on a kernel whose vDSO (%" PRIu64
			     " bytes) differs from this one's (%" PRIu64
			     " bytes), and its functions "
			     "cannot be found",
			     t->pid, e->end - e->start, vdso.end - vdso.start);
	t->redirect = true;
	return 0;
}

/* ---- moving ---- */

static bool overlaps(uint64_t start, uint64_t end, uint64_t from, uint64_t to)
{
	return start < to && from < end;
}

/* The lowest free place from `at` on that meets nothing mapped, now or later. */
static uint64_t find_hole(uint64_t at, uint64_t size, const struct range_list *busy)
{
	bool moved = true;
	size_t i;

	while (moved) {
		moved = false;
		for (i = 0; i < busy->n; i++) {
			if (!overlaps(at, at + size, busy->range[i].start, busy->range[i].end))
				continue;
			at = busy->range[i].end;
			moved = true;
		}
	}
	return at;
}

/* As one block, in the order and with the distances they have. */
static void place_block(struct areas *a, uint64_t at)
{
	size_t i;

	for (i = 0; i < a->n; i++)
		a->area[i].to = at + (a->area[i].start - a->area[0].start);
}

static void place_as_in_images(struct areas *a, const struct target *t)
{
	uint64_t vvar = t->vvar < 0 ? 0 : t->vma[t->vvar]->start;
	size_t i;

	for (i = 0; i < a->n; i++) {
		if (a->area[i].vdso) {
			a->area[i].to = t->vdso < 0 ? 0 : t->vma[t->vdso]->start;
		} else {
			a->area[i].to = vvar;
			vvar += vvar ? a->area[i].end - a->area[i].start : 0;
		}
	}
}

static void plan_one(struct plan *p, struct area *a, uint64_t to)
{
	uint64_t size = a->end - a->start;
	const uint64_t arg[6] = { a->start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to };

	if (a->start == to)
		return;
	plan_add(p, WANT_ADDRESS, a->vdso ? "move the vDSO" : "move a vvar area", to, SYS_mremap,
		 arg);
	a->start = to;
	a->end = to + size;
}

static bool in_the_way(const struct areas *a)
{
	size_t i, k;

	for (i = 0; i < a->n; i++)
		for (k = 0; k < a->n; k++)
			if (a->area[i].to && a->area[i].to != a->area[i].start &&
			    overlaps(a->area[i].to,
				     a->area[i].to + a->area[i].end - a->area[i].start,
				     a->area[k].start, a->area[k].end))
				return true;
	return false;
}

/* busy plus where the areas are. */
static void add_areas(struct range_list *to, const struct range_list *busy, const struct areas *a)
{
	size_t i;

	for (i = 0; i < busy->n + a->n; i++) {
		struct address_range *r = grow(&to->range, to->n++, &to->cap, sizeof(*r));

		*r = i < busy->n ? busy->range[i] :
				   (struct address_range){ a->area[i - busy->n].start,
							   a->area[i - busy->n].end };
	}
}

int vdso_plan_move(struct plan *p, const struct target *t, struct areas *areas,
		   const struct range_list *busy, struct fault *f)
{
	struct range_list all = { 0 };
	uint64_t hole, size;
	size_t i;

	if (!areas->n) {
		if (t->vdso >= 0)
			return fault(f, -EPROTO, "task %d has lost its vDSO", t->pid);
		return 0;
	}
	size = areas->area[areas->n - 1].end - areas->area[0].start;
	add_areas(&all, busy, areas);
	/* Near the old one: the large gaps are where the agents of children will be. */
	hole = find_hole(t->vdso < 0 ? HOLE_FROM : t->vma[t->vdso]->end, size, &all);
	if (hole + size > USER_END)
		hole = find_hole(HOLE_FROM, size, &all);
	free(all.range);
	if (t->redirect)
		place_block(areas, hole);
	else
		place_as_in_images(areas, t);
	for (i = 0; i < areas->n; i++) {
		struct area *a = &areas->area[i];

		if (!a->to)
			plan_add(p, WANT_SUCCESS, "unmap a vDSO area", a->start, SYS_munmap,
				 (uint64_t[6]){ a->start, a->end - a->start });
	}
	if (in_the_way(areas)) {
		uint64_t first = areas->area[0].start;

		for (i = 0; i < areas->n; i++)
			if (areas->area[i].to)
				plan_one(p, &areas->area[i], hole + (areas->area[i].start - first));
	}
	for (i = 0; i < areas->n; i++)
		if (areas->area[i].to)
			plan_one(p, &areas->area[i], areas->area[i].to);
	return 0;
}

/* ---- redirection ---- */

/* movabs $to,%r11; jmp *%r11: r11 is nobody's across a call. */
static void put_jump(char *code, uint64_t to)
{
	memcpy(code, "\x49\xbb", 2);
	memcpy(code + 2, &to, 8);
	memcpy(code + 10, "\x41\xff\xe3", 3);
}

/* mov $-ENOSYS,%eax; ret: what callers of the vDSO must expect anyway. */
static void put_enosys(char *code)
{
	memcpy(code, "\x48\xc7\xc0\xda\xff\xff\xff\xc3", 8);
}

char *vdso_with_jumps(const struct target *t, uint64_t to)
{
	const VmaEntry *e = t->vma[t->vdso];
	size_t size = e->end - e->start, i;
	struct vdso_symbols theirs, ours;
	const char *own = (const char *)getauxval(AT_SYSINFO_EHDR);
	struct address_range vdso, vvar;
	struct fault f = { 0 };
	char *code = xcalloc(1, size);

	memcpy(code, image_of_vdso(t), size);
	if (own_layout(&vdso, &vvar, &f) < 0 ||
	    vdso_symbols(own, vdso.end - vdso.start, &ours) < 0 ||
	    vdso_symbols(code, size, &theirs) < 0)
		die("the vDSO is not what it was when it was checked");
	for (i = 0; i < theirs.n; i++) {
		const struct vdso_symbol *s = &theirs.symbol[i];
		const struct vdso_symbol *o = vdso_symbol_find(&ours, s->name);

		if (o && s->size >= 13)
			put_jump(code + s->offset, to + o->offset);
		else if (s->size >= 8)
			put_enosys(code + s->offset);
	}
	return code;
}
