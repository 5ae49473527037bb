/* SPDX-License-Identifier: MIT */
/*
 * core_dump.c - everything core-*.img says of the frozen threads, and ids-*.img.
 *
 * Most is seen from outside (thread_dump.c): this thread, the tracer, reads registers while helpers
 * read /proc. A task's agent reads its handlers, timers and switches in one batch, and
 * all agents work at the same time.
 *
 * Rights:   being the tracer of the threads, /proc, the gates, the image directory.
 * Holds:    the locks of all gates from core_dump_ask to core_dump_collect.
 */
#include "coordinator/core_dump.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "coordinator/fired.h"
#include "coordinator/freeze.h"
#include "coordinator/kids.h"
#include "coordinator/seccomp.h"
#include "coordinator/signals_dump.h"
#include "coordinator/switches.h"
#include "coordinator/thread_dump.h"
#include "coordinator/timers_dump.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/parallel.h"

#define DEADLINE_MS 10000
#ifndef PR_GET_MDWE			/* absent from Debian 12's headers */
#define PR_GET_MDWE 66
#endif
#ifndef PR_GET_MEMORY_MERGE
#define PR_GET_MEMORY_MERGE 68
#endif
#define MEMBARRIER_GET (1 << 9)		/* MEMBARRIER_CMD_GET_REGISTRATIONS, Linux 6.3 */

/* Written by the agent: one block in the arena. */
struct answers {
	struct itimerval timers[ITIMERS];
	struct kernel_sigaction handlers[SIGNALS];
	struct clocks clocks;
	uint64_t pending;		/* signals, after the timers were read */
	uint32_t subreaper;
	uint32_t pad;
};

/* Operations whose result is the answer. */
enum { PROBES = 3 };

struct asked {
	struct task *task;
	struct batch *batch;		/* NULL once it is done */
	uint64_t off;			/* of struct answers */
	int nops;
	int brk, dumpable, no_thp, merge, mdwe;	/* operation numbers */
	struct switches_asked switches;
	uint64_t pending;
	int membarrier;			/* of the first of PROBES when the kernel cannot tell */
	MemTaskState memory;		/* its stack pointers are made by core_dump_memory */
};

/* All threads of all tasks in one row, zombies left out. */
struct row {
	struct task *task;
	struct thread *thread;
};

struct core_dump {
	struct job *job;
	struct cgroup_sets *sets;
	struct filters *filters;	/* seccomp */
	Lsmtype module;
	struct row *row;
	size_t nrows;
	struct parallel *reading;	/* /proc */
	struct asked *asked;
	size_t nasked;
	bool can_tell;			/* MEMBARRIER_GET works */
	struct clocks clocks;
};

static bool is_leader(const struct row *r)
{
	return r->thread == &r->task->threads[0];
}

/* ---- seen from outside ---- */

static void make_rows(struct core_dump *d)
{
	struct job *job = d->job;
	size_t i, j, n = 0;

	for (i = 0; i < job->ntasks; i++)
		n += job->tasks[i]->nthreads;
	d->row = xcalloc(n, sizeof(*d->row));
	for (i = 0; i < job->ntasks; i++)
		for (j = 0; j < job->tasks[i]->nthreads; j++) {
			if (job->tasks[i]->state == TASK_ZOMBIE)
				continue;
			d->row[d->nrows].task = job->tasks[i];
			d->row[d->nrows++].thread = &job->tasks[i]->threads[j];
		}
}

static int read_outside(void *ctx, size_t i, struct fault *f)
{
	struct core_dump *d = ctx;

	return thread_dump_outside(d->row[i].task, d->row[i].thread, d->sets, d->module, f);
}

int core_dump_thread(void *ctx, struct task *t, struct thread *th, struct fault *f)
{
	struct core_dump *d = ctx;

	if (thread_dump_stopped(th, f) < 0)
		return -1;
	return filters_dump(d->filters, t->pid, th->tid, th->core->thread_core, f);
}

static int read_leaders(struct core_dump *d, struct fault *f)
{
	size_t i;

	for (i = 0; i < d->nrows; i++)
		if (is_leader(&d->row[i]) &&
		    core_dump_thread(d, d->row[i].task, d->row[i].thread, f) < 0)
			return -1;
	return 0;
}

struct core_dump *core_dump_begin(struct job *job, struct cgroup_sets *sets, struct fault *f)
{
	struct core_dump *d = xcalloc(1, sizeof(*d));
	size_t i;

	d->job = job;
	d->sets = sets;
	d->filters = filters_new();
	d->module = labels_module();
	make_rows(d);
	for (i = 0; i < d->nrows; i++)
		thread_dump_new(d->row[i].thread, is_leader(&d->row[i]));
	if (read_leaders(d, f) < 0) {
		core_dump_free(d);
		return NULL;
	}
	d->reading = parallel_start(d->nrows, read_outside, d);
	return d;
}

static int join_reading(struct core_dump *d, struct fault *f)
{
	return d->reading ? parallel_join(take_ptr(&d->reading), f) : 0;
}

/* ---- what the agents know ---- */

/*
 * Which membarrier commands are registered. Before Linux 6.3 each is tried: it succeeds only
 * in a registered task, and does no harm.
 */
static int ask_membarrier(struct batch *b, struct asked *a, bool can_tell)
{
	static const int tried[PROBES] = {
		MEMBARRIER_CMD_PRIVATE_EXPEDITED,
		MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
		MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
	};
	int i, r;

	if (can_tell) {
		a->membarrier = batch_op(b, 0, 0, SYS_membarrier, 2, gc(MEMBARRIER_GET), gc(0));
		return a->membarrier;
	}
	for (i = 0; i < PROBES; i++) {
		r = batch_op(b, 0, 0, SYS_membarrier, 2, gc(tried[i]), gc(0));
		if (i == 0)
			a->membarrier = r;
	}
	return r;
}

static int ask_task(struct asked *a, bool can_tell)
{
	struct batch *b = a->batch;
	void *local;
	int last;

	a->off = batch_alloc(b, sizeof(struct answers), &local);
	if (!local)
		return -1;
	if (timers_ask_intervals(b, a->off + offsetof(struct answers, timers)) < 0 ||
	    batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_rt_sigpending, 2,
		     ga(a->off + offsetof(struct answers, pending)), gc(8)) < 0 ||
	    signals_ask_handlers(b, a->off + offsetof(struct answers, handlers)) < 0 ||
	    batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_prctl, 2, gc(PR_GET_CHILD_SUBREAPER),
		     ga(a->off + offsetof(struct answers, subreaper))) < 0)
		return -1;
	batch_op(b, 0, 0, SYS_clock_gettime, 2, gc(CLOCK_MONOTONIC),
		 ga(a->off + offsetof(struct answers, clocks.monotonic)));
	batch_op(b, 0, 0, SYS_clock_gettime, 2, gc(CLOCK_BOOTTIME),
		 ga(a->off + offsetof(struct answers, clocks.boottime)));
	a->brk = batch_op(b, 0, 0, SYS_brk, 1, gc(0));
	a->dumpable = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_prctl, 1, gc(PR_GET_DUMPABLE));
	a->no_thp = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_prctl, 5, gc(PR_GET_THP_DISABLE), gc(0),
			     gc(0), gc(0), gc(0));
	/* Older kernels do not know them: an error is no. */
	a->merge = batch_op(b, 0, 0, SYS_prctl, 5, gc(PR_GET_MEMORY_MERGE), gc(0), gc(0), gc(0),
			    gc(0));
	a->mdwe = batch_op(b, 0, 0, SYS_prctl, 5, gc(PR_GET_MDWE), gc(0), gc(0), gc(0), gc(0));
	if (a->mdwe < 0 || switches_ask(b, &a->switches) < 0)
		return -1;
	last = ask_membarrier(b, a, can_tell);
	a->nops = last + 1;
	return last;
}

int core_dump_ask(struct core_dump *d, struct fault *f)
{
	struct job *job = d->job;
	size_t i;

	d->asked = xcalloc(job->ntasks, sizeof(*d->asked));
	d->can_tell = syscall(SYS_membarrier, MEMBARRIER_GET, 0, 0) >= 0;
	for (i = 0; i < job->ntasks; i++) {
		struct asked *a = &d->asked[d->nasked];

		if (job->tasks[i]->state == TASK_ZOMBIE)
			continue;
		a->task = job->tasks[i];
		a->batch = batch_begin(a->task->gate);
		d->nasked++;
		if (ask_task(a, d->can_tell) < 0)
			return fault(f, -ENOSPC, "task %d: its agent's arena is too small",
				     a->task->pid);
		batch_start(a->batch);
	}
	return 0;
}

static uint32_t membarrier_mask(const struct asked *a, bool can_tell)
{
	static const uint32_t registered[PROBES] = {
		MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
		MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
		MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ,
	};
	uint32_t mask = 0;
	int i;

	if (can_tell) {
		int64_t r = batch_result(a->batch, 0, a->membarrier);

		return r > 0 ? r : 0;
	}
	for (i = 0; i < PROBES; i++)
		if (batch_result(a->batch, 0, a->membarrier + i) == 0)
			mask |= registered[i];
	return mask;
}

static int collect_task(struct core_dump *d, struct asked *a, struct fault *f)
{
	TaskCoreEntry *tc = a->task->threads[0].core->tc;
	const struct answers *got;
	uint32_t mask;
	int done;

	if (batch_wait(a->batch, DEADLINE_MS, f) < 0)
		return fault_prefix(f, "task %d", a->task->pid);
	done = batch_executed(a->batch, 0);
	if (done < a->nops)
		return fault(f, -batch_result(a->batch, 0, done - 1),
			     "task %d: system call %d of its agent failed", a->task->pid, done - 1);
	got = batch_local(a->batch, a->off);
	tc->timers = timers_entry(got->timers);
	a->pending = got->pending;
	signals_put_handlers(tc, got->handlers);
	tc->has_child_subreaper = true;
	tc->child_subreaper = got->subreaper != 0;
	mask = membarrier_mask(a, d->can_tell);
	if (mask) {
		tc->has_membarrier_registration_mask = true;
		tc->membarrier_registration_mask = mask;
	}
	switches_take(a->batch, &a->switches, tc);
	if (!a->task->parent)
		d->clocks = got->clocks;
	mem_task_state__init(&a->memory);
	a->memory.pid = a->task->pid;
	a->memory.brk = batch_result(a->batch, 0, a->brk);
	a->memory.dumpable = batch_result(a->batch, 0, a->dumpable);
	a->memory.has_thp_disabled = true;
	a->memory.thp_disabled = batch_result(a->batch, 0, a->no_thp);
	a->memory.has_merge_any = a->memory.merge_any = batch_result(a->batch, 0, a->merge) == 1;
	a->memory.has_mdwe = batch_result(a->batch, 0, a->mdwe) > 0;
	a->memory.mdwe = a->memory.has_mdwe ? batch_result(a->batch, 0, a->mdwe) : 0;
	return 0;
}

/* All answers first, then the gates are free for the POSIX timers. */
int core_dump_collect(struct core_dump *d, struct fault *f)
{
	size_t i;

	for (i = 0; i < d->nasked; i++) {
		if (collect_task(d, &d->asked[i], f) < 0)
			return -1;
		batch_end(d->asked[i].batch);
		d->asked[i].batch = NULL;
	}
	for (i = 0; i < d->nasked; i++) {
		struct task *t = d->asked[i].task;

		if (timers_add_posix(t, t->threads[0].core->tc->timers, f) < 0 ||
		    fired_collect(d->job, t, d->asked[i].pending, f) < 0)
			return -1;
	}
	return 0;
}

const struct clocks *core_dump_clocks(const struct core_dump *d)
{
	return &d->clocks;
}

static MemTaskState *memory_of(const struct asked *a)
{
	MemTaskState *m = xcalloc(1, sizeof(*m));
	size_t i;

	*m = a->memory;
	m->stack_pointer = xcalloc(a->task->nthreads, sizeof(*m->stack_pointer));
	for (i = 0; i < a->task->nthreads; i++)
		m->stack_pointer[m->n_stack_pointer++] =
			thread_frozen(&a->task->threads[i])->regs.rsp;
	return m;
}

MemWrite *core_dump_memory(const struct core_dump *d)
{
	MemWrite *m = xcalloc(1, sizeof(*m));
	size_t i;

	mem_write__init(m);
	m->task = xcalloc(d->nasked, sizeof(*m->task));
	for (i = 0; i < d->nasked; i++)
		m->task[m->n_task++] = memory_of(&d->asked[i]);
	return m;
}

void core_dump_free(struct core_dump *d)
{
	struct fault ignored = { 0 };
	size_t i;

	if (!d)
		return;
	join_reading(d, &ignored);
	for (i = 0; i < d->nasked; i++)
		if (d->asked[i].batch)
			batch_end(d->asked[i].batch);
	filters_free(d->filters);
	free(d->asked);
	free(d->row);
	free(d);
}

/* ---- seen from outside, the rest ---- */

int core_dump_registers(struct core_dump *d, struct fault *f)
{
	size_t i;

	for (i = 0; i < d->nrows; i++)
		if (!d->row[i].thread->core->thread_info &&
		    core_dump_thread(d, d->row[i].task, d->row[i].thread, f) < 0)
			return -1;
	return 0;
}

int core_dump_gather(struct core_dump *d, struct fault *f)
{
	struct job *job = d->job;
	size_t i;

	if (join_reading(d, f) < 0)
		return -1;
	for (i = 0; i < d->nrows; i++)
		thread_dump_facts(d->row[i].thread);
	for (i = 0; i < job->ntasks; i++) {
		struct task *t = job->tasks[i];

		if ((t->state == TASK_ZOMBIE ? task_dump_zombie(t, f) : task_dump(t, f)) < 0)
			return -1;
		if (t->leader_dead) {
			if (task_dump_dead_leader(t, d->sets, d->module, f) < 0)
				return -1;
		} else if (t->state != TASK_ZOMBIE) {
			filters_share(d->filters, t);
		}
	}
	return 0;
}

/* ---- images ---- */

static int write_core(int dir, pid_t vtid, const CoreEntry *core, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(dir, IMG_CORE, vtid, f);

	if (!img || image_write(img, &core->base, f) < 0)
		return -1;
	return image_close(&img, f);
}

static int write_row(void *ctx, size_t i, struct fault *f)
{
	struct core_dump *d = ctx;
	const struct thread *th = d->row[i].thread;

	return write_core(d->job->image_dir, th->vtid, th->core, f);
}

static int write_ids(struct job *job, const struct task *t, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_create(job->image_dir, IMG_IDS, t->vpid, f);
	TaskKobjIdsEntry e;

	kids_entry(t, &e);
	if (!img || image_write(img, &e.base, f) < 0)
		return -1;
	return image_close(&img, f);
}

int core_dump_write(struct core_dump *d, struct fault *f)
{
	struct job *job = d->job;
	int r = parallel_join(parallel_start(d->nrows, write_row, d), f);
	size_t i;

	for (i = 0; r == 0 && i < job->ntasks; i++) {
		struct task *t = job->tasks[i];

		if (t->leader_dead)
			r = write_core(job->image_dir, t->vpid, t->leader_core, f);
		if (r == 0)
			r = t->state == TASK_ZOMBIE ?
				write_core(job->image_dir, t->vpid, t->threads[0].core, f) :
				write_ids(job, t, f);
	}
	return r < 0 ? -1 : filters_write(d->filters, job->image_dir, f);
}
