/* SPDX-License-Identifier: MIT */
/*
 * dump.c - dump: the messages, and the images of each task.
 *
 * MemCollect reads what exists, while the coordinator asks the tasks themselves; MemWrite finds the
 * pages and writes mm-PID.img, pagemap-PID.img and pages-N.img; MemWriteFiles writes the contents
 * of memory files, which only the files worker knows all of.
 *
 * Rights:   CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE over the tasks; the image directory.
 * Holds:    from MemCollect on the descriptions of all address spaces.
 * Relies on the tasks being stopped.
 */
#include "workers/mem/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/log.h"
#include "workers/mem/aio.h"
#include "workers/mem/collect.h"
#include "workers/mem/device_maps.h"
#include "workers/mem/lanes.h"
#include "workers/mem/pagescan.h"
#include "workers/mem/semaphores.h"
#include "workers/mem/sockets.h"
#include "workers/mem/state.h"
#include "workers/mem/sysv.h"
#include "workers/mem/uprobes.h"
#include "workers/mem/vma.h"

#define IOVS 256			/* runs read by one call; the kernel's limit is 1024 */
#define LANES_FROM 4			/* tasks that make a second thread worth its start */

struct dump {
	struct space *space;
	size_t n;
	struct collection all;
	uint32_t last_pages;		/* number of the last pages-N.img */
};

void dump_free(struct dump *d)
{
	size_t i;

	if (!d)
		return;
	for (i = 0; i < d->n; i++)
		space_free(&d->space[i]);
	free(d->space);
	mapped_free(&d->all.mapped);
	shmems_free(&d->all.shmems);
	shmems_free(&d->all.segments);
	device_maps_free(&d->all);
	free(d);
}

/* ---- MemCollect ---- */

static void report_mapped(const struct mapped_files *all, MemCollected *out)
{
	MappedFile *m;
	size_t i;

	out->mapped = xcalloc(all->n, sizeof(*out->mapped));
	for (i = 0; i < all->n; i++) {
		m = xcalloc(1, sizeof(*m));
		mapped_file__init(m);
		m->id = MAPPED_ID_FIRST + i;
		m->pid = all->file[i].pid;
		m->has_start = m->has_end = all->file[i].end != 0;
		m->start = all->file[i].start;
		m->end = all->file[i].end;
		m->flags = all->file[i].flags;
		m->has_device = m->device = all->file[i].device;
		out->mapped[out->n_mapped++] = m;
	}
}

static void report_tasks(const struct dump *d, MemCollected *out)
{
	MemTaskInfo *t;
	size_t i;

	out->task = xcalloc(d->n, sizeof(*out->task));
	for (i = 0; i < d->n; i++) {
		t = xcalloc(1, sizeof(*t));
		mem_task_info__init(t);
		t->pid = d->space[i].pid;
		t->exe_file_id = d->space[i].mm.exe_file_id;
		out->task[out->n_task++] = t;
	}
}

/*
 * Shared anonymous memory that also has a private mapping is a memory file in all its mappings:
 * one object, for CRIU too.
 */
static void join_private(struct dump *d, VmaEntry *e)
{
	const struct mapped_files *m = &d->all.mapped;
	size_t i;

	for (i = 0; i < m->n && vma_is_shmem(e); i++) {
		if (m->file[i].dev != d->all.shmem_dev || m->file[i].ino != e->shmid)
			continue;
		e->status = VMA_REGULAR | VMA_FILE_SHARED | VMA_MEMFD;
		e->flags &= ~MAP_ANONYMOUS;
		e->shmid = MAPPED_ID_FIRST + i;
		e->has_fdflags = true;
		e->fdflags = O_RDWR;
	}
}

static void join_all(struct dump *d)
{
	size_t i, k;

	for (i = 0; d->all.shmems.n && i < d->n; i++)
		for (k = 0; k < d->space[i].n; k++)
			join_private(d, &d->space[i].vma[k].e);
}

static void look_at_semaphores(const struct dump *d)
{
	AUTO_FREE pid_t *pid = xcalloc(d->n, sizeof(*pid));
	size_t i;

	for (i = 0; i < d->n; i++)
		pid[i] = d->space[i].pid;
	semaphores_warn(pid, d->n);
}

int on_mem_collect(struct call *c, struct fault *f)
{
	const MemCollect *m = c->req->mem_collect;
	struct mem *mem = c->ctx;
	struct dump *d;
	struct space *s;
	size_t i;

	dump_free(mem->dump);
	d = mem->dump = xcalloc(1, sizeof(*d));
	d->all.allow_uprobes = c->worker->set.opts->allow_uprobes;
	d->space = xcalloc(m->n_task, sizeof(*d->space));
	for (i = 0; i < m->n_task; i++) {
		if (m->task[i]->dead || m->task[i]->vm_shared)
			continue;
		s = &d->space[d->n++];
		s->pid = m->task[i]->pid;
		s->vpid = m->task[i]->vpid;
		s->region = m->task[i]->region_base;
		s->region_end = s->region + m->task[i]->region_size;
		s->probed = d->all.allow_uprobes;	/* before the first hit there is no area */
		s->clean = m->task[i]->stub_start;
		s->clean_end = m->task[i]->stub_end;
		if (collect_space(s, &d->all, f) < 0)
			return -1;
	}
	join_all(d);
	look_at_semaphores(d);
	c->rep->body_case = REPLY__BODY_MEM_COLLECTED;
	c->rep->mem_collected = xcalloc(1, sizeof(MemCollected));
	mem_collected__init(c->rep->mem_collected);
	report_mapped(&d->all.mapped, c->rep->mem_collected);
	report_tasks(d, c->rep->mem_collected);
	c->rep->mem_collected->has_uprobes = c->rep->mem_collected->uprobes = d->all.uprobes;
	c->rep->mem_collected->n_device = device_maps_take(&d->all, &c->rep->mem_collected->device);
	for (i = 0; d->all.sockets && i < d->n; i++)
		sockets_report(&d->space[i], c->rep->mem_collected);
	return 0;
}

/* ---- MemWrite ---- */

/* Pages where stack pointers point, sorted; a lazy restore must have them at once. */
struct stacks {
	uint64_t *page;
	size_t n, next;
};

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void stacks_init(struct stacks *st, const MemTaskState *state)
{
	size_t i;

	st->page = xcalloc(state->n_stack_pointer, sizeof(*st->page));
	for (i = 0; i < state->n_stack_pointer; i++)
		st->page[st->n++] = state->stack_pointer[i] & -STASIS_PAGE;
	qsort(st->page, st->n, sizeof(*st->page), compare_u64);
}

static bool may_be_lazy(const VmaEntry *e)
{
	return (e->flags & MAP_ANONYMOUS) && (e->flags & MAP_PRIVATE) && !(e->flags & MAP_LOCKED) &&
	       !(e->status & (VMA_VDSO | VMA_VVAR | VMA_VSYSCALL));
}

/* Add pages of one mapping; those with a live stack top are cut out of a lazy run. */
static void add_pages(struct runs *runs, struct stacks *st, const struct space_vma *v,
		      uint64_t start, uint64_t end)
{
	const VmaEntry *e = &v->e;
	struct run r = { .start = start, .end = end };

	r.pin = v->alone && (e->prot & PROT_READ) && !vma_is(e, VMA_VDSO) && !v->stub;
	if (may_be_lazy(e)) {
		r.flags = PAGE_LAZY;
		for (; st->next < st->n && st->page[st->next] < end; st->next++) {
			uint64_t page = st->page[st->next];

			if (page < r.start)
				continue;
			r.end = page;
			if (r.start < r.end)
				runs_add(runs, r);
			runs_add(runs, (struct run){ page, page + STASIS_PAGE, 0, r.pin });
			r.start = page + STASIS_PAGE;
		}
		r.end = end;
	}
	if (r.start < r.end)
		runs_add(runs, r);
}

static bool has_contents(const VmaEntry *e)
{
	return vma_is_private(e) && !(e->status & (VMA_VVAR | VMA_VDSO)) &&
	       !(e->flags & MAP_DROPPABLE);
}

/* Lay the extents over the mappings: both are in address order. The vDSO is always stored whole. */
static void choose_pages(const struct space *s, const struct extents *ex, struct stacks *st,
			 struct runs *runs)
{
	size_t v, i = 0;

	for (v = 0; v < s->n; v++) {
		const VmaEntry *e = &s->vma[v].e;

		if (vma_is(e, VMA_VDSO) || vma_is_ring(e))
			add_pages(runs, st, &s->vma[v], e->start, e->end);
		if (!has_contents(e))
			continue;
		while (i < ex->n && ex->extent[i].end <= e->start)
			i++;
		for (; i < ex->n && ex->extent[i].start < e->end; i++) {
			const struct extent *x = &ex->extent[i];

			if (!x->guard)
				add_pages(runs, st, &s->vma[v],
					  x->start > e->start ? x->start : e->start,
					  x->end < e->end ? x->end : e->end);
			if (x->end > e->end)
				break;		/* goes on in the next mapping */
		}
	}
}

static void add_guards(struct space *s, const struct extents *ex)
{
	size_t i;

	for (i = 0; i < ex->n; i++)
		if (ex->extent[i].guard)
			space_add(s, ex->extent[i].start, ex->extent[i].end)->status = VMA_GUARD;
}

struct reader {
	const struct space *s;
	int mem;			/* /proc/PID/mem */
};

/* The stub's place reads as it was: zeros. */
static void clean_tail(const struct space *s, const struct run *piece, char *buf)
{
	uint64_t from = s->clean > piece->start ? s->clean : piece->start;
	uint64_t to = s->clean_end < piece->end ? s->clean_end : piece->end;

	if (from < to)
		memset(buf + (from - piece->start), 0, to - from);
}

/* Runs that are read by one call. */
struct gather {
	struct iovec remote[IOVS];
	size_t n;
	char *buf;			/* where the first goes */
	size_t len;
};

static int read_gathered(const struct reader *r, struct gather *g, struct fault *f)
{
	struct iovec local = { g->buf, g->len };
	ssize_t got;

	if (!g->n)
		return 0;
	got = process_vm_readv(r->s->pid, &local, 1, g->remote, g->n, 0);
	if (got != (ssize_t)g->len)
		return fault(f, got < 0 ? errno : EFAULT,
			     "task %d: read %zu bytes of its memory from %p on", r->s->pid, g->len,
			     g->remote[0].iov_base);
	g->n = g->len = 0;
	return 0;
}

static void gather(struct gather *g, const struct run *piece, char *buf)
{
	size_t size = piece->end - piece->start;

	if (!g->n)
		g->buf = buf;
	g->remote[g->n++] = (struct iovec){ (void *)piece->start, size };
	g->len += size;
}

static int read_alone(const struct reader *r, const struct run *piece, char *buf, struct fault *f)
{
	size_t size = piece->end - piece->start;
	ssize_t got = pread(r->mem, buf, size, piece->start);

	if (got != (ssize_t)size)
		return fault(f, got < 0 ? errno : EFAULT,
			     "task %d: read its memory %" PRIx64 "-%" PRIx64, r->s->pid,
			     piece->start, piece->end);
	clean_tail(r->s, piece, buf);
	return 0;
}

/*
 * /proc/PID/mem reads anything. process_vm_readv is faster, but reads only what the task may, and
 * it pins the pages: the kernel gives every page that is shared with another task since a fork a
 * copy of its own first (Linux 5.19, gup_must_unshare). A dump must not do that.
 */
static long fill(void *ctx, const struct runs *runs, struct cursor *at, char *buf, size_t len,
		 struct fault *f)
{
	struct reader *r = ctx;
	struct gather g = { .n = 0 };
	struct run piece;
	size_t n = 0;

	while (n < len && runs_next(runs, at, len - n, &piece)) {
		if ((!piece.pin || g.n == IOVS) && read_gathered(r, &g, f) < 0)
			return -1;
		if (piece.pin)
			gather(&g, &piece, buf + n);
		else if (read_alone(r, &piece, buf + n, f) < 0)
			return -1;
		n += piece.end - piece.start;
	}
	return read_gathered(r, &g, f) < 0 ? -1 : (long)n;
}

static int write_pages(struct space *s, const struct runs *runs, struct page_writer *w,
		       struct fault *f)
{
	AUTO_CLOSE int mem = -1;
	struct reader r = { .s = s };
	struct page_source src = { fill, &r };
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/mem", s->pid);
	mem = r.mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return fault(f, errno, "open %s", path);
	return pages_write(w, IMG_PAGEMAP, s->vpid, runs, &src, f);
}

static int write_mm(struct space *s, const MemTaskState *state, const struct aio_rings *rings,
		    int image_dir, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	AUTO_FREE VmaEntry **vmas = NULL;
	size_t i;

	vmas = xcalloc(s->n, sizeof(*vmas));
	for (i = 0; i < s->n; i++)
		vmas[i] = &s->vma[i].e;
	s->mm.vmas = vmas;
	s->mm.n_vmas = s->n;
	s->mm.aios = rings->list;
	s->mm.n_aios = rings->n;
	s->mm.mm_brk = state->brk;
	s->mm.has_dumpable = s->mm.has_thp_disabled = true;
	s->mm.dumpable = state->dumpable;
	s->mm.thp_disabled = state->thp_disabled & 1;
	s->mm.thp_flags = state->thp_disabled & ~1u;
	s->mm.has_thp_flags = s->mm.thp_flags != 0;
	s->mm.has_merge_any = s->mm.merge_any = state->merge_any;
	s->mm.mdwe = state->mdwe;
	s->mm.has_mdwe = s->mm.mdwe != 0;
	s->mm.has_mlockall = s->mm.mlockall != 0;
	img = image_create(image_dir, IMG_MM, s->vpid, f);
	if (!img || image_write(img, &s->mm.base, f) < 0)
		return -1;
	return image_close(&img, f);
}

static int write_space(struct space *s, const MemTaskState *state, struct page_writer *w,
		       struct fault *f)
{
	struct extents ex = { 0 };
	struct runs runs = { 0 };
	struct stacks st = { 0 };
	struct aio_rings rings;
	int r = aio_read_rings(s, &rings, f) < 0 ? -1 : pagescan(s->pid, &ex, f);

	if (r == 0) {
		stacks_init(&st, state);
		choose_pages(s, &ex, &st, &runs);
		add_guards(s, &ex);
		r = uprobes_leave_out(s, &runs, f);
	}
	if (r == 0) {
		w->scanned += runs_bytes(&runs) / STASIS_PAGE + ex.n;
		w->written += runs_bytes(&runs) / STASIS_PAGE;
		log_debug("task %d: %zu mappings, %zu runs, %" PRIu64 " pages", s->pid, s->n,
			  runs.n, runs_bytes(&runs) / STASIS_PAGE);
		r = write_mm(s, state, &rings, w->image_dir, f) < 0 ? -1 :
								      write_pages(s, &runs, w, f);
	}
	if (r == 0)
		r = aio_unchanged(s, &rings, f);
	aio_free(&rings);
	free(ex.extent);
	free(runs.run);
	free(st.page);
	return r;
}

static const MemTaskState *find_state(const MemWrite *m, pid_t pid)
{
	size_t i;

	for (i = 0; i < m->n_task; i++)
		if (m->task[i]->pid == (uint32_t)pid)
			return m->task[i];
	return NULL;
}

static void report_written(const struct page_writer *w, Reply *rep)
{
	MemWritten *m = xcalloc(1, sizeof(*m));

	mem_written__init(m);
	m->has_pages_scanned = m->has_pages_written = m->has_shpages_scanned = true;
	m->has_shpages_written = m->has_memdump_us = m->has_memwrite_us = true;
	m->pages_scanned = w->scanned;
	m->pages_written = w->written;
	m->shpages_scanned = w->shared_scanned;
	m->shpages_written = w->shared_written;
	m->memdump_us = w->memdump_us;
	m->memwrite_us = w->memwrite_us;
	rep->body_case = REPLY__BODY_MEM_WRITTEN;
	rep->mem_written = m;
}

/* What the lanes share. Each task has a writer of its own: its id and figures. */
struct writing {
	struct dump *dump;
	const MemWrite *request;
	struct page_writer *writer;
};

static int write_one(void *ctx, size_t i, struct fault *f)
{
	struct writing *all = ctx;
	struct space *s = &all->dump->space[i];
	const MemTaskState *state = find_state(all->request, s->pid);

	if (!state)
		return fault(f, -EPROTO, "MemWrite has no MemTaskState of task %d", s->pid);
	return write_space(s, state, &all->writer[i], f);
}

static void add_figures(struct page_writer *sum, const struct page_writer *one)
{
	sum->scanned += one->scanned;
	sum->written += one->written;
	sum->memdump_us += one->memdump_us;
	sum->memwrite_us += one->memwrite_us;
}

int on_mem_write(struct call *c, struct fault *f)
{
	AUTO_FREE struct page_writer *writer = NULL;
	struct page_writer sum = { .image_dir = c->worker->set.image_dir, .alone = true };
	struct mem *mem = c->ctx;
	struct writing all = { .dump = mem->dump, .request = c->req->mem_write };
	size_t i;

	if (!mem->dump)
		return fault(f, -EPROTO, "MemWrite came before MemCollect");
	for (i = 0; mem->dump->all.sockets && i < mem->dump->n; i++)
		if (sockets_name(&mem->dump->space[i], c->req->mem_write, f) < 0)
			return -1;
	if (shmems_write(&mem->dump->all.shmems, &sum, f) < 0 ||
	    shmems_write(&mem->dump->all.segments, &sum, f) < 0 ||
	    sysv_write(&mem->dump->all.segments, &mem->dump->all.shmems, sum.image_dir, f) < 0)
		return -1;
	all.writer = writer = xcalloc(mem->dump->n, sizeof(*writer));
	for (i = 0; i < mem->dump->n; i++) {
		writer[i].image_dir = sum.image_dir;
		writer[i].last_id = sum.last_id + i;
		writer[i].alone = mem->dump->n == 1;
	}
	if (lanes_run(mem->dump->n, mem->dump->n >= LANES_FROM, write_one, &all, f) < 0)
		return -1;
	for (i = 0; i < mem->dump->n; i++)
		add_figures(&sum, &writer[i]);
	mem->dump->last_pages = sum.last_id + mem->dump->n;
	report_written(&sum, c->rep);
	return 0;
}

/* ---- MemWriteFiles ---- */

int on_mem_write_files(struct call *c, struct fault *f)
{
	const MemWriteFiles *m = c->req->mem_write_files;
	struct page_writer sum = { .image_dir = c->worker->set.image_dir, .alone = true };
	struct dump *d = ((struct mem *)c->ctx)->dump;
	size_t i;

	if (!d || !d->last_pages)
		return fault(f, -EPROTO, "MemWriteFiles came before MemWrite");
	sum.last_id = d->last_pages;
	for (i = 0; i < m->n_memory; i++)
		if (shmem_write_file(&d->all.shmems, m->memory[i], &sum, f) < 0)
			return -1;
	d->last_pages = sum.last_id;
	report_written(&sum, c->rep);
	return 0;
}
