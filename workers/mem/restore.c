/* SPDX-License-Identifier: MIT */
/*
 * restore.c - restore: the messages.
 *
 * MemPrepare reads and checks all images before any task exists; Gates tells where the agents
 * are; MemMakeFiles makes memory files; MemBuild makes address spaces; MemFinish lets go of
 * everything.
 *
 * Rights:   the image directory; those of build.c.
 * Holds:    from MemPrepare to MemFinish the targets, their images mapped, and the gates.
 */
#include "workers/mem/restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/log.h"
#include "workers/mem/build.h"
#include "workers/mem/cow.h"
#include "workers/mem/device_maps.h"
#include "workers/mem/gaps.h"
#include "workers/mem/lanes.h"
#include "workers/mem/last.h"
#include "workers/mem/sockets.h"
#include "workers/mem/state.h"
#include "workers/mem/sysv.h"
#include "workers/mem/vdso.h"
#include "workers/mem/vma.h"

#define GAPS 16
#define COMPARE_LANES_FROM (8ul << 20)	/* bytes that make a second thread worth its start */

struct restore {
	struct target **target;		/* parents before children */
	size_t n;
	struct shmem_pool shmems;
	struct segments segments;
	struct adoption adoption;
	int gate_fd;			/* the gate memory of the whole tree */
};

void restore_free(struct restore *r)
{
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->n; i++) {
		gate_close(r->target[i]->gate);
		target_free(r->target[i]);
		free(r->target[i]);
	}
	free(r->target);
	shmem_pool_free(&r->shmems);
	sysv_free(&r->segments);
	adoption_free(&r->adoption);
	auto_close(&r->gate_fd);
	free(r);
}

static struct target *find(const struct restore *r, uint32_t pid)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (r->target[i]->pid == (pid_t)pid)
			return r->target[i];
	return NULL;
}

/* ---- MemPrepare ---- */

static int check_own_vm(const MemPrepare *m, size_t task, struct fault *f)
{
	size_t i;

	for (i = 0; i < task; i++)
		if (!m->task[i]->dead && m->task[i]->vm_id == m->task[task]->vm_id &&
		    m->task[i]->vm_id)
			return fault(f, -ENOTSUP,
				     "task %u shares its memory with task %u (vfork or clone "
				     "with CLONE_VM), which cannot be restored yet",
				     m->task[task]->pid, m->task[i]->pid);
	return 0;
}

static int load_target(struct restore *r, const RestoreTask *task, int image_dir, struct fault *f)
{
	struct target *t = xcalloc(1, sizeof(*t));

	r->target[r->n++] = t;
	t->pid = task->pid;
	t->parent = task->ppid ? find(r, task->ppid) : NULL;
	if (target_load(t, image_dir, &r->adoption, f) < 0 || vdso_check(t, f) < 0 ||
	    shmem_pool_add(&r->shmems, t, image_dir, f) < 0 ||
	    sysv_need(&r->segments, t, image_dir, f) < 0)
		return -1;
	if (t->redirect)
		log_warnx("task %d: its vDSO differs from this kernel's: calls are redirected",
			  t->pid);
	return 0;
}

static void report_gaps(const struct restore *r, MemPrepared *out)
{
	struct range_list gaps = { 0 };
	AddressRange *a;
	size_t i;

	gaps_find(r->target, r->n, GAPS, &gaps);
	out->gap = xcalloc(gaps.n, sizeof(*out->gap));
	for (i = 0; i < gaps.n; i++) {
		a = xcalloc(1, sizeof(*a));
		address_range__init(a);
		a->start = gaps.range[i].start;
		a->end = gaps.range[i].end;
		out->gap[out->n_gap++] = a;
	}
	free(gaps.range);
}

static void report_needs(const struct target *t, MemPrepared *out)
{
	MemNeeds *n = xcalloc(1, sizeof(*n));
	size_t i;

	mem_needs__init(n);
	n->pid = t->pid;
	n->has_fill_before_fork = n->has_inherits = n->has_dumpable = true;
	n->fill_before_fork = t->has_heirs;
	n->inherits = t->nkept != 0;
	n->dumpable = t->mm->has_dumpable ? t->mm->dumpable : 1;
	n->has_vdso = t->vdso >= 0;
	n->vdso = n->has_vdso ? t->vma[t->vdso]->start : 0;
	n->file_id = xcalloc(t->nfiles, sizeof(*n->file_id));
	n->file_flags = xcalloc(t->nfiles, sizeof(*n->file_flags));
	n->n_file_id = n->n_file_flags = t->nfiles;
	for (i = 0; i < t->nfiles; i++) {
		n->file_id[i] = t->file_id[i];
		n->file_flags[i] = t->file_flags[i];
	}
	out->task[out->n_task++] = n;
}

static int compare_one(void *ctx, size_t i, struct fault *f)
{
	struct restore *r = ctx;

	(void)f;
	cow_compare(r->target[i]);
	return 0;
}

static int compare_all(struct restore *r, struct fault *f)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < r->n; i++)
		bytes += r->target[i]->parent ? r->target[i]->pages.size : 0;
	return lanes_run(r->n, bytes >= COMPARE_LANES_FROM, compare_one, r, f);
}

int on_mem_prepare(struct call *c, struct fault *f)
{
	const MemPrepare *m = c->req->mem_prepare;
	struct mem *mem = c->ctx;
	MemPrepared *out;
	struct restore *r;
	size_t i;

	restore_free(mem->restore);
	r = mem->restore = xcalloc(1, sizeof(*r));
	r->gate_fd = -1;
	r->target = xcalloc(m->n_task, sizeof(*r->target));
	if (shmem_pool_files(&r->shmems, c->worker->set.image_dir, f) < 0)
		return -1;
	for (i = 0; i < m->n_task; i++) {
		if (m->task[i]->dead)
			continue;
		if (check_own_vm(m, i, f) < 0 ||
		    load_target(r, m->task[i], c->worker->set.image_dir, f) < 0)
			return -1;
	}
	if (compare_all(r, f) < 0)
		return -1;
	out = xcalloc(1, sizeof(*out));
	mem_prepared__init(out);
	out->has_memory_files = out->has_has_memory_files = r->shmems.n && r->shmems.shmem[0].file;
	out->has_has_segments = true;
	out->has_segments = sysv_any_needed(&r->segments);
	report_gaps(r, out);
	out->task = xcalloc(r->n, sizeof(*out->task));
	for (i = 0; i < r->n; i++) {
		report_needs(r->target[i], out);
		sockets_places(r->target[i], out);
		device_maps_places(r->target[i], out);
	}
	c->rep->body_case = REPLY__BODY_MEM_PREPARED;
	c->rep->mem_prepared = out;
	return 0;
}

/* ---- Gates, MemMakeFiles, MemBuild, MemFinish ---- */

int on_gates(struct call *c, struct fault *f)
{
	const Gates *m = c->req->gates;
	struct mem *mem = c->ctx;
	struct restore *r = mem->restore;
	struct target *t;
	size_t i;

	if (!r)
		return fault(f, -EPROTO, "Gates came before MemPrepare");
	if (m->has_fd) {
		auto_close(&r->gate_fd);
		if (worker_recv_fds(c->worker, &r->gate_fd, 1, f) < 0)
			return -1;
	}
	for (i = 0; i < m->n_place; i++) {
		const struct gate_place place = {
			.pid = m->place[i]->pid, .file_offset = m->place[i]->file_offset,
			.base = m->place[i]->address, .size = m->place[i]->size,
			.nmailboxes = m->place[i]->nmailboxes,
		};

		t = find(r, m->place[i]->pid);
		if (!t)
			continue;	/* a zombie-to-be has no memory */
		gate_close(t->gate);
		t->gate = gate_open(r->gate_fd, &place, false, GATE_MODE_RESTORE, f);
		if (!t->gate)
			return -1;
	}
	return 0;
}

int on_mem_make_files(struct call *c, struct fault *f)
{
	struct restore *r = ((struct mem *)c->ctx)->restore;
	AUTO_FREE int *fds = NULL;
	MemFilesMade *out;
	size_t i;

	if (!r)
		return fault(f, -EPROTO, "MemMakeFiles came before MemPrepare");
	out = xcalloc(1, sizeof(*out));
	mem_files_made__init(out);
	c->rep->body_case = REPLY__BODY_MEM_FILES_MADE;
	c->rep->mem_files_made = out;
	out->inode_id = xcalloc(r->shmems.n, sizeof(*out->inode_id));
	fds = xcalloc(r->shmems.n, sizeof(*fds));
	for (i = 0; i < r->shmems.n; i++) {
		if (!r->shmems.shmem[i].file)
			continue;
		fds[out->n_inode_id] = shmem_open(&r->shmems, r->shmems.shmem[i].id, f);
		if (fds[out->n_inode_id] < 0)
			return -1;
		out->inode_id[out->n_inode_id++] = r->shmems.shmem[i].file->inode_id;
	}
	return worker_send_fds(c->worker, fds, out->n_inode_id, f);
}

int on_mem_build(struct call *c, struct fault *f)
{
	const MemBuild *m = c->req->mem_build;
	struct mem *mem = c->ctx;
	struct target *t;
	size_t i;

	if (mem->restore && sysv_make(&mem->restore->segments, f) < 0)
		return -1;
	for (i = 0; i < m->n_task; i++) {
		t = mem->restore ? find(mem->restore, m->task[i]->pid) : NULL;
		if (!t || !t->gate)
			return fault(f, -EPROTO,
				     "MemBuild of task %u, which has no images or no gate",
				     m->task[i]->pid);
		if (build_task(t, &mem->restore->shmems, &mem->restore->segments,
			       m->task[i]->first_fd, m->task[i]->inherited, f) < 0)
			return -1;
		log_debug("task %d: %zu mappings, %" PRIu64
			  " bytes of pages, %zu ranges taken over",
			  t->pid, t->n, t->pages.size, m->task[i]->inherited ? t->nkept : 0);
	}
	return 0;
}

static int do_last(const struct target *t, struct fault *f)
{
	struct plan *p = plan_new();
	int r;

	last_plan(p, t);
	r = t->gate ? plan_run(p, t->gate, f) : 0;
	plan_free(p);
	return r;
}

/*
 * The tasks are about to run and need nothing of ours. The images stay mapped: to unmap a large
 * tree's takes 0.2 s, which the end of this process costs anyway, but later.
 */
int on_mem_finish(struct call *c, struct fault *f)
{
	struct mem *mem = c->ctx;
	struct restore *r = mem->restore;
	MemFinished *out = xcalloc(1, sizeof(*out));
	size_t i;

	mem_finished__init(out);
	c->rep->body_case = REPLY__BODY_MEM_FINISHED;
	c->rep->mem_finished = out;
	if (r && sysv_finish(&r->segments, f) < 0)
		return -1;
	for (i = 0; r && i < r->n; i++) {
		out->pages_compared += r->target[i]->compared;
		out->pages_skipped_cow += r->target[i]->same;
		out->pages_restored += r->target[i]->restored;
		if (do_last(r->target[i], f) < 0)
			return -1;
		gate_close(r->target[i]->gate);
		r->target[i]->gate = NULL;
	}
	if (r)
		auto_close(&r->gate_fd);
	if (r)
		r->gate_fd = -1;
	return 0;
}

int on_mem_keep(struct call *c, struct fault *f)
{
	struct restore *r = ((struct mem *)c->ctx)->restore;
	int fd = r ? sysv_hand_over(&r->segments) : -1;

	return worker_send_keepers(c, &fd, fd >= 0, f);
}
