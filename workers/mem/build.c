/* SPDX-License-Identifier: MIT */
/*
 * build.c - restore: make a task's address space what the images say.
 *
 * Order: everything but the agent's region, the vDSO and what was taken over is unmapped;
 * PR_SET_MM_MAP (EBUSY while the old executable is mapped); the vDSO moves; mappings are made at
 * their final addresses, writable where contents will come; contents; protection, advice, locks.
 *
 * Rights:   CAP_SYS_PTRACE over the task; the task itself needs CAP_CHECKPOINT_RESTORE (exe).
 * Holds:    nothing between tasks.
 */
#include "workers/mem/build.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "proto/control/util.h"
#include "workers/common/hugetlb.h"
#include "workers/mem/aio.h"
#include "workers/mem/fill.h"
#include "workers/mem/plan.h"
#include "workers/mem/settle.h"
#include "workers/mem/vdso.h"
#include "workers/mem/vma.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define HUGE_WHAT "map huge pages (are enough reserved? /proc/sys/vm/nr_hugepages)"

struct build {
	struct target *t;
	struct shmem_pool *pool;
	const struct segments *segments;
	struct plan *plan;
	int first_fd;
	bool inherited;
	struct areas areas;
	int *shared_fd; /* by mapping: the task's descriptor of its shared memory, or -1 */
	int nfds;			/* the task's descriptors from first_fd on */
	long uffd_call;			/* number of the call that makes a userfaultfd, -1: none */
};

static void add(struct build *b, const char *what, uint64_t where, uint32_t nr,
		const uint64_t arg[6])
{
	plan_add(b->plan, WANT_SUCCESS, what, where, nr, arg);
}

/* ---- what stays ---- */

static int compare_ranges(const void *a, const void *b)
{
	const struct address_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_range(struct range_list *l, uint64_t start, uint64_t end)
{
	struct address_range *r = grow(&l->range, l->n++, &l->cap, sizeof(*r));

	*r = (struct address_range){ start, end };
}

static void list_staying(const struct build *b, struct range_list *l)
{
	const struct gate_place *place = gate_place(b->t->gate);
	size_t i;

	add_range(l, place->base, place->base + place->size);
	for (i = 0; i < b->areas.n; i++)
		add_range(l, b->areas.area[i].start, b->areas.area[i].end);
	for (i = 0; b->inherited && i < b->t->nkept; i++)
		add_range(l, b->t->kept[i].start, b->t->kept[i].end);
	qsort(l->range, l->n, sizeof(*l->range), compare_ranges);
}

static void plan_unmap(struct build *b)
{
	struct range_list staying = { 0 };
	uint64_t at = 0;
	size_t i;

	list_staying(b, &staying);
	add_range(&staying, USER_END, USER_END);
	for (i = 0; i < staying.n; i++) {
		if (staying.range[i].start > at)
			add(b, "unmap", at, SYS_munmap,
			    (uint64_t[6]){ at, staying.range[i].start - at });
		at = staying.range[i].end;
	}
	free(staying.range);
}

static int plan_vdso(struct build *b, struct fault *f)
{
	const struct gate_place *place = gate_place(b->t->gate);
	struct range_list busy = { 0 };
	size_t i;
	int r;

	add_range(&busy, place->base, place->base + place->size);
	for (i = 0; i < b->t->n; i++)
		add_range(&busy, b->t->vma[i]->start, b->t->vma[i]->end);
	r = vdso_plan_move(b->plan, b->t, &b->areas, &busy, f);
	free(busy.range);
	return r;
}

/* ---- fields of the address space ---- */

/* The kernel's struct prctl_mm_map. */
struct mm_map {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end, auxv;
	uint32_t auxv_size, exe_fd;
};

/* A child that takes over memory has the executable already, and it is mapped: leave it. */
static void plan_fields(struct build *b)
{
	const MmEntry *m = b->t->mm;
	struct mm_map map = {
		.start_code = m->mm_start_code, .end_code = m->mm_end_code,
		.start_data = m->mm_start_data, .end_data = m->mm_end_data,
		.start_brk = m->mm_start_brk,	.brk = m->mm_brk,
		.start_stack = m->mm_start_stack,
		.arg_start = m->mm_arg_start,	.arg_end = m->mm_arg_end,
		.env_start = m->mm_env_start,	.env_end = m->mm_env_end,
		.auxv_size = m->n_mm_saved_auxv * sizeof(uint64_t),
		.exe_fd = b->inherited && b->t->nkept ? (uint32_t)-1 : b->first_fd + b->t->exe_slot,
	};

	add(b, "prctl(PR_SET_MM_MAP), the program's code", m->mm_start_code, SYS_prctl,
	    (uint64_t[6]){ PR_SET_MM, PR_SET_MM_MAP, 0, sizeof(map) });
	plan_data(b->plan, 2, &map, sizeof(map));
	if (map.auxv_size)
		plan_data_pointer(b->plan, offsetof(struct mm_map, auxv), m->mm_saved_auxv,
				  map.auxv_size);
}

/* ---- mappings ---- */

static const VmaEntry *vma_of(const struct build *b, size_t i)
{
	return b->t->vma[i];
}

/* The redirected vDSO and its vvars become ordinary anonymous memory. */
static bool is_mapped_here(const struct build *b, size_t i)
{
	if (vma_is_sysv(vma_of(b, i)))
		return false;
	return !vma_is_special(vma_of(b, i)) || b->t->redirect;
}

static void plan_map(struct build *b, size_t i, uint64_t start, uint64_t end)
{
	const VmaEntry *e = vma_of(b, i);
	uint64_t flags = e->flags &
			 (MAP_SHARED | MAP_PRIVATE | MAP_DROPPABLE | MAP_ANONYMOUS | MAP_GROWSDOWN |
			  MAP_NORESERVE | MAP_HUGETLB | HUGETLB_SIZE_BITS);
	uint32_t prot = settle_first_prot(b->t, i);
	bool code = vma_is(e, VMA_FILE_PRIVATE) && (e->prot & PROT_EXEC) && prot != e->prot;
	int fd = -1;

	/* Keeps the place until aio_make, or for net or gpu. */
	if (vma_is_ring(e) || vma_is_socket(e) || vma_is_device(e))
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
	if (b->t->slot[i] >= 0)
		fd = b->first_fd + b->t->slot[i];
	if (b->shared_fd[i] >= 0)
		fd = b->shared_fd[i];
	if (fd >= 0)
		flags &= ~(uint64_t)(MAP_ANONYMOUS | MAP_HUGETLB | HUGETLB_SIZE_BITS);
	plan_add(b->plan, WANT_ADDRESS, e->flags & MAP_HUGETLB ? HUGE_WHAT : "map", start, SYS_mmap,
		 (uint64_t[6]){ start, end - start, code ? e->prot : prot,
				flags | MAP_FIXED_NOREPLACE, fd,
				fd < 0 ? 0 : e->pgoff + (start - e->start) });
	/* The kernel notices active uprobes when code is mapped that cannot be written to. */
	if (code)
		add(b, "open for writing", start, SYS_mprotect,
		    (uint64_t[6]){ start, end - start, prot });
}

/* Map what is not there yet: whole mappings, or the parts next to what was taken over. */
static void plan_maps(struct build *b)
{
	const struct target *t = b->t;
	size_t i, k = 0;
	uint64_t at;

	for (i = 0; i < t->n; i++) {
		if (!is_mapped_here(b, i))
			continue;
		at = t->vma[i]->start;
		for (; b->inherited && k < t->nkept && t->kept[k].vma <= i; k++) {
			if (t->kept[k].vma < i)
				continue;
			if (t->kept[k].start > at)
				plan_map(b, i, at, t->kept[k].start);
			at = t->kept[k].end;
		}
		if (at < t->vma[i]->end)
			plan_map(b, i, at, t->vma[i]->end);
	}
}

/* Make what was taken over ready for contents: drop pages, open it for writing. */
static void plan_kept(struct build *b)
{
	const struct target *t = b->t;
	size_t i;

	settle_plan_parent_guards(b->plan, t);
	for (i = 0; i < t->nkept; i++) {
		uint32_t prot = settle_first_prot(t, t->kept[i].vma);

		if (prot != t->parent->vma[t->kept[i].from]->prot)
			add(b, "protect", t->kept[i].start, SYS_mprotect,
			    (uint64_t[6]){ t->kept[i].start, t->kept[i].end - t->kept[i].start,
					   prot });
	}
	for (i = 0; i < t->drop.n; i++)
		add(b, "drop pages", t->drop.range[i].start, SYS_madvise,
		    (uint64_t[6]){ t->drop.range[i].start,
				   t->drop.range[i].end - t->drop.range[i].start, MADV_DONTNEED });
}

/* ---- descriptors ---- */

/* Is the mapping wholly taken over from the parent? */
static bool wholly_kept(const struct build *b, size_t vma)
{
	const VmaEntry *e = vma_of(b, vma);
	size_t i;

	for (i = 0; b->inherited && i < b->t->nkept; i++)
		if (b->t->kept[i].vma == vma && b->t->kept[i].start == e->start &&
		    b->t->kept[i].end == e->end)
			return true;
	return false;
}

/* Which shared memory must be passed; each object once. Returns how many. */
static size_t choose_shared(struct build *b, uint64_t *ids)
{
	size_t i, k, n = 0;

	for (i = 0; i < b->t->n; i++) {
		b->shared_fd[i] = -1;
		if (!vma_is_shmem(vma_of(b, i)) || wholly_kept(b, i))
			continue;
		for (k = 0; k < n && ids[k] != vma_of(b, i)->shmid; k++)
			;
		if (k == n)
			ids[n++] = vma_of(b, i)->shmid;
		b->shared_fd[i] = b->nfds + b->first_fd + k;
	}
	return n;
}

static int pass_shared(struct build *b, struct fault *f)
{
	AUTO_FREE uint64_t *ids = NULL;
	AUTO_FREE int *fds = NULL, *at = NULL, *flags = NULL;
	size_t i, n;

	ids = xcalloc(b->t->n, sizeof(*ids));
	n = choose_shared(b, ids);
	if (!n)
		return 0;
	fds = xcalloc(n, sizeof(*fds));
	at = xcalloc(n, sizeof(*at));
	flags = xcalloc(n, sizeof(*flags));
	for (i = 0; i < n; i++) {
		fds[i] = shmem_open(b->pool, ids[i], f);
		if (fds[i] < 0)
			return -1;
		at[i] = b->first_fd + b->nfds + i;
	}
	b->nfds += n;
	return gate_pass_fds(b->t->gate, b->first_fd + b->nfds, fds, at, flags, n, f);
}

static void plan_close(struct build *b)
{
	if (b->nfds)
		add(b, "close_range, descriptor", b->first_fd, SYS_close_range,
		    (uint64_t[6]){ b->first_fd, b->first_fd + b->nfds - 1 });
}

/* Without a userfaultfd (old kernel, filter) contents come the slower way. */
static void plan_uffd(struct build *b)
{
	size_t i;

	b->uffd_call = -1;
	for (i = 0; i < b->t->n && b->uffd_call < 0; i++)
		if (fill_wants_uffd(b->t, i))
			b->uffd_call = plan_add(
				b->plan, WANT_ANYTHING, "userfaultfd", 0, SYS_userfaultfd,
				(uint64_t[6]){ O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY });
}

/* ---- contents ---- */

static int take_uffd(const struct build *b, int *out, struct fault *f)
{
	AUTO_CLOSE int pidfd = -1;
	int64_t fd = b->uffd_call < 0 ? -1 : plan_result(b->plan, b->uffd_call);

	*out = -1;
	if (fd < 0)
		return 0;
	pidfd = syscall(SYS_pidfd_open, b->t->pid, 0);
	if (pidfd < 0)
		return fault(f, errno, "task %d: open its pidfd", b->t->pid);
	*out = syscall(SYS_pidfd_getfd, pidfd, (int)fd, 0);
	if (*out < 0)
		return fault(f, errno, "task %d: take over its userfaultfd", b->t->pid);
	add((struct build *)b, "close the userfaultfd", fd, SYS_close, (uint64_t[6]){ fd });
	return 0;
}

static int write_redirected(const struct build *b, struct fault *f)
{
	AUTO_FREE char *code = NULL;
	const VmaEntry *e = vma_of(b, b->t->vdso);
	struct iovec local, remote;
	uint64_t to = 0;
	size_t i;

	for (i = 0; i < b->areas.n; i++)
		if (b->areas.area[i].vdso)
			to = b->areas.area[i].to;
	code = vdso_with_jumps(b->t, to);
	local = (struct iovec){ code, e->end - e->start };
	remote = (struct iovec){ (void *)e->start, e->end - e->start };
	if (process_vm_writev(b->t->pid, &local, 1, &remote, 1, 0) != (ssize_t)local.iov_len)
		return fault(f, errno, "task %d: write the redirected vDSO", b->t->pid);
	return 0;
}

static int fill(struct build *b, struct fault *f)
{
	AUTO_CLOSE int uffd = -1;
	bool part = b->inherited && b->t->nkept;
	const struct stored_list *what = part ? &b->t->differs : &b->t->stored;
	size_t i;

	if (take_uffd(b, &uffd, f) < 0 || fill_pages(b->t, what, uffd, f) < 0)
		return -1;
	for (i = 0; i < what->n; i++)
		b->t->restored += (what->run[i].end - what->run[i].start) / STASIS_PAGE;
	return b->t->redirect ? write_redirected(b, f) : 0;
}

static int run(struct build *b, struct fault *f)
{
	AUTO_FREE uint32_t *ring_ids = xcalloc(b->t->mm->n_aios, sizeof(*ring_ids));

	if (vdso_find(b->t->pid, &b->areas, f) < 0 || pass_shared(b, f) < 0)
		return -1;
	plan_unmap(b);
	plan_fields(b);
	if (plan_vdso(b, f) < 0)
		return -1;
	settle_plan_keys(b->plan, b->t, b->inherited);
	sysv_plan(b->plan, b->segments, b->t);
	plan_maps(b);
	if (b->inherited && b->t->nkept)
		plan_kept(b);
	plan_close(b);
	plan_uffd(b);
	if (plan_run(b->plan, b->t->gate, f) < 0 || aio_make(b->t, ring_ids, f) < 0 ||
	    fill(b, f) < 0 || aio_number(b->t, ring_ids, f) < 0)
		return -1;
	settle_plan(b->plan, b->t);
	return plan_run(b->plan, b->t->gate, f);
}

int build_task(struct target *t, struct shmem_pool *pool, const struct segments *segments,
	       int first_fd, bool inherited, struct fault *f)
{
	struct build b = {
		.t = t,
		.pool = pool,
		.segments = segments,
		.first_fd = first_fd,
		.inherited = inherited,
		.nfds = t->nfiles,
	};
	int r;

	b.plan = plan_new();
	b.shared_fd = xcalloc(t->n, sizeof(*b.shared_fd));
	r = run(&b, f);
	plan_free(b.plan);
	free(b.shared_fd);
	return r;
}
