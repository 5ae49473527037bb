/* SPDX-License-Identifier: MIT */
/*
 * dump.c - the dump: its stages, each with its undo.
 *
 * prepare   workers up, everything refused that can be known beforehand
 * pause     devices come to rest, as far as tasks must run for it
 * freeze    every thread stopped, who shares what; devices checkpointed
 * inject    agents in, threads asked what only they know
 * collect   workers learn what exists; we read what needs the tracer or an agent
 * write     all write images in parallel; before ours, what /proc tells is complete
 * seal      inventory.img appears: the dump is complete
 * release   agents out; tasks killed, left stopped or running
 *
 * After a fault the tasks run on as if nothing had been: first the workers come to rest (they may
 * be using agents), then agents out, what the files worker made outside the image
 * directory is undone, and the threads are let go.
 *
 * Rights:   ptrace over the tree, /proc, the image directory.
 * Holds:    the tree frozen from "freeze" to "release".
 */
#include <errno.h>

#include "coordinator/births.h"
#include "coordinator/cgroup_sets.h"
#include "coordinator/core_dump.h"
#include "coordinator/crew.h"
#include "coordinator/devices.h"
#include "coordinator/freeze.h"
#include "coordinator/inject.h"
#include "coordinator/kids.h"
#include "coordinator/labels.h"
#include "coordinator/obstacles.h"
#include "coordinator/pact.h"
#include "coordinator/preflight.h"
#include "coordinator/scripts.h"
#include "coordinator/seal.h"
#include "coordinator/sleepers.h"
#include "coordinator/sockets.h"
#include "proto/control/socket_list.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

#define PAUSE_TRIES 5

struct dump_state {
	struct obstacles obstacles;
	struct cgroup_sets *sets;
	struct core_dump *cores;
	Reply *found;		/* files' answer to FilesCollect; owned */
	Reply *collected;		/* mem's MemCollected */
	uint64_t frozen_at;		/* job_elapsed_us */
};

static struct dump_state *state(struct job *job)
{
	return job->priv;
}

/* ---- prepare ---- */

static int check_root(struct job *job, struct fault *f)
{
	pid_t root = job->opts->pid;
	struct fault own = { 0 };
	struct proc_stat st;

	if (procfs_stat(procfs_living_thread(root), 0, &st, &own) < 0)
		return own.code == ENOENT ? fault(f, -ESRCH, "task %d does not exist", root) :
			fault(f, -own.code, "%s", own.text);
	if (st.state == 'Z' || st.state == 'X')
		return fault(f, -ESRCH, "task %d (%s) is dead: there is nothing to dump", root,
			     st.comm);
	return preflight_session(root, st.sid, job->opts, f);
}

/* The images of an older dump go last: a dump that is refused leaves them. */
static int prepare_all(struct job *job, struct fault *f)
{
	struct dump_state *d = state(job);

	if (scripts_run(job, "pre-dump", f) < 0 || check_root(job, f) < 0 ||
	    labels_check_option(job->opts, f) < 0)
		return -1;
	if (crew_start(job, 1u << ROLE_MEM | 1u << ROLE_FILES, f) < 0)
		return -1;
	step(job, "crew");
	d->sets = cgroup_sets_new(job, f);
	if (!d->sets || obstacles_find(job, &d->obstacles, f) < 0)
		return -1;
	return seal_break(job, f);
}

static int prepare(struct job *job, struct fault *f)
{
	if (prepare_all(job, f) == 0)
		return 0;
	devices_end(job, -1);
	return -1;
}

/* ---- pause ---- */

static int pause_devices(struct job *job, struct fault *f)
{
	const struct obstacles *o = &state(job)->obstacles;

	if (devices_pause(job, o->walked, o->nwalked, f) == 0)
		return 0;
	devices_end(job, -1);
	return -1;
}

static void unpause_devices(struct job *job)
{
	devices_end(job, -1);
}

/* ---- freeze ---- */

static void describe_task(const struct task *t, DumpTask *e)
{
	dump_task__init(e);
	e->pid = t->pid;
	e->vpid = t->vpid;
	e->vm_id = t->vm_id;
	e->files_id = t->files_id;
	e->fs_id = t->fs_id;
	e->has_files_shared = e->has_fs_shared = e->has_vm_shared = true;
	e->files_shared = t->files_shared;
	e->fs_shared = t->fs_shared;
	e->vm_shared = t->vm_shared;
	e->sid = t->sid;
	e->pgid = t->pgid;
	e->has_dead = true;
	e->dead = t->state == TASK_ZOMBIE;
	if (t->seat) {
		e->has_region_base = e->has_region_size = true;
		e->has_stub_start = e->has_stub_end = true;
		e->region_base = seat_region_base(t->seat);
		e->region_size = seat_region_size(t->seat);
		e->stub_start = seat_stub_start(t->seat);
		e->stub_end = seat_stub_end(t->seat);
	}
}

/* Ask mem or files what there is. */
static int ask_collect(struct job *job, enum role role, struct fault *f)
{
	AUTO_FREE DumpTask *tasks = xcalloc(job->ntasks, sizeof(*tasks));
	AUTO_FREE DumpTask **list = xcalloc(job->ntasks, sizeof(*list));
	FilesCollect files = FILES_COLLECT__INIT;
	MemCollect mem = MEM_COLLECT__INIT;
	NsId ns[KIDS_NAMESPACES], *ns_list[KIDS_NAMESPACES];
	Request req = REQUEST__INIT;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		describe_task(job->tasks[i], &tasks[i]);
		list[i] = &tasks[i];
	}
	mem.task = files.task = list;
	mem.n_task = files.n_task = job->ntasks;
	if (role == ROLE_MEM) {
		req.body_case = REQUEST__BODY_MEM_COLLECT;
		req.mem_collect = &mem;
	} else {
		kids_namespaces(job->tasks[0]->pid, ns);
		for (i = 0; i < KIDS_NAMESPACES; i++)
			ns_list[i] = &ns[i];
		files.ns = ns_list;
		files.n_ns = KIDS_NAMESPACES;
		req.body_case = REQUEST__BODY_FILES_COLLECT;
		req.files_collect = &files;
	}
	return crew_send(job->crew, role, STAGE__COLLECT, &req, NULL, 0, f);
}

/* Devices of tasks that were born since are paused too, which wants them running. */
static int freeze_paused(struct job *job, struct fault *f)
{
	AUTO_FREE pid_t *pids = NULL;
	int tries;
	size_t i;

	for (tries = 0; tries < PAUSE_TRIES; tries++) {
		if (freeze_tree(job, f) < 0)
			return -1;
		if (!devices_any_new(job))
			return 0;
		pids = xrealloc(pids, job->ntasks, sizeof(*pids));
		for (i = 0; i < job->ntasks; i++)
			pids[i] = job->tasks[i]->pid;
		thaw_tree(job, THAW_RUN);
		if (devices_pause(job, pids, job->ntasks, f) < 0)
			return -1;
	}
	return fault(f, -EAGAIN,
		     "the tree of task %u creates tasks faster than their devices can be paused",
		     job->opts->pid);
}

static int freeze(struct job *job, struct fault *f)
{
	struct dump_state *d = state(job);
	uint64_t begun = job_elapsed_us(job);
	struct task *root;

	if (freeze_paused(job, f) < 0)
		return -1;
	d->frozen_at = job_elapsed_us(job);
	job->timing.freezing_us = d->frozen_at - begun;
	crew_hurry(job->crew);
	step(job, "frozen");
	root = job->tasks[0];
	if (preflight_session(root->vpid, root->sid, job->opts, f) < 0 ||
	    obstacles_of_new(job, &d->obstacles, f) < 0 || births_check(job, f) < 0 ||
	    kids_assign(job, f) < 0 || sleepers_measure(job, f) < 0 ||
	    devices_checkpoint(job, f) < 0 ||
	    /* Descriptors do not change by what comes next: files begins while agents go in. */
	    ask_collect(job, ROLE_FILES, f) < 0) {
		devices_end(job, -1);
		thaw_tree(job, THAW_RUN);
		return -1;
	}
	return 0;
}

static void files_rollback(struct job *job)
{
	FilesRollback msg = FILES_ROLLBACK__INIT;
	Request req = REQUEST__INIT;
	struct fault f = { 0 };

	req.body_case = REQUEST__BODY_FILES_ROLLBACK;
	req.files_rollback = &msg;
	if (crew_ask(job->crew, ROLE_FILES, STAGE__SEAL, &req, NULL, &f) < 0)
		log_debug("while undoing: %s", f.text);
}

/* The files worker was asked in the freeze, so it may be at it even when no agent is in. */
static void unfreeze(struct job *job)
{
	crew_quiesce(job->crew);
	files_rollback(job);
	sockets_rollback(job);
	devices_end(job, -1);
	thaw_tree(job, THAW_RUN);
}

/* ---- inject ---- */

static void forget_cores(struct job *job)
{
	core_dump_free(take_ptr(&state(job)->cores));
}

static int inject(struct job *job, struct fault *f)
{
	struct dump_state *d = state(job);

	d->cores = core_dump_begin(job, d->sets, f);
	if (d->cores && inject_all(job, f) == 0)
		return 0;
	forget_cores(job);
	return -1;
}

static void uninject(struct job *job)
{
	crew_quiesce(job->crew);
	forget_cores(job);
	eject_all(job);
}

/* ---- collect ---- */

/* Ends when memory is known; the files worker may still be at it. */
static int collect(struct job *job, struct fault *f)
{
	struct dump_state *d = state(job);

	/* Threads tell what only they know while the workers collect. */
	if (ask_collect(job, ROLE_MEM, f) < 0 ||
	    inject_thread_facts(job, core_dump_thread, d->cores, f) < 0 ||
	    core_dump_ask(d->cores, f) < 0)
		return -1;
	step(job, "collecting");
	if (core_dump_collect(d->cores, f) < 0 || core_dump_registers(d->cores, f) < 0)
		return -1;
	d->collected = crew_answer(job->crew, ROLE_MEM, REPLY__BODY_MEM_COLLECTED, f);
	if (!d->collected)
		return -1;
	job->uprobes = d->collected->mem_collected->uprobes;
	return 0;
}

/* ---- write ---- */

static int ask_mem_write(struct job *job, struct fault *f)
{
	MemWrite *msg = core_dump_memory(state(job)->cores);
	const Reply *found = state(job)->found;
	Request req = REQUEST__INIT;
	int r;

	if (found)
		msg->socket = found->files_collected->socket;
	req.body_case = REQUEST__BODY_MEM_WRITE;
	req.mem_write = msg;
	r = crew_send(job->crew, ROLE_MEM, STAGE__WRITE, &req, NULL, 0, f);
	msg->socket = NULL;
	mem_write__free_unpacked(msg, NULL);
	return r;
}

static int ask_files_write(struct job *job, struct fault *f)
{
	const MemCollected *got = state(job)->collected->mem_collected;
	const FilesCollected *found = state(job)->found->files_collected;
	FilesWrite msg = FILES_WRITE__INIT;
	Request req = REQUEST__INIT;

	msg.cloexec = found->owed;
	msg.n_cloexec = found->n_owed;
	msg.mapped = got->mapped;
	msg.n_mapped = got->n_mapped;
	req.body_case = REQUEST__BODY_FILES_WRITE;
	req.files_write = &msg;
	return crew_send(job->crew, ROLE_FILES, STAGE__WRITE, &req, NULL, 0, f);
}

static int take_mem_written(struct job *job, struct fault *f)
{
	Reply *rep = NULL;

	if (crew_wait(job->crew, ROLE_MEM, &rep, f) < 0)
		return -1;
	if (rep->body_case == REPLY__BODY_MEM_WRITTEN) {
		job->written = rep->mem_written;
		rep->mem_written = NULL;
		rep->body_case = REPLY__BODY__NOT_SET;
	}
	reply__free_unpacked(rep, NULL);
	return 0;
}

/* Memory files have entries now; their contents are mem's to write. */
static int write_memory_files(struct job *job, const FilesWritten *files, struct fault *f)
{
	MemWriteFiles msg = MEM_WRITE_FILES__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;
	int r = 0;

	msg.memory = files->memory;
	msg.n_memory = files->n_memory;
	req.body_case = REQUEST__BODY_MEM_WRITE_FILES;
	req.mem_write_files = &msg;
	rep = crew_ask_for(job->crew, ROLE_MEM, STAGE__WRITE, &req, REPLY__BODY_MEM_WRITTEN, f);
	if (!rep)
		return -1;
	if (!job->written) {
		r = fault(f, -EPROTO, "worker mem has not told what it wrote");
	} else {
		job->written->shpages_scanned += rep->mem_written->shpages_scanned;
		job->written->shpages_written += rep->mem_written->shpages_written;
		job->written->memdump_us += rep->mem_written->memdump_us;
		job->written->memwrite_us += rep->mem_written->memwrite_us;
	}
	reply__free_unpacked(rep, NULL);
	return r;
}

static int take_written(struct job *job, struct fault *f)
{
	Reply *files = NULL;
	int r;

	if (crew_wait(job->crew, ROLE_FILES, &files, f) < 0)
		return -1;
	r = take_mem_written(job, f);
	if (r == 0 && files->body_case == REPLY__BODY_FILES_WRITTEN)
		r = write_memory_files(job, files->files_written, f);
	reply__free_unpacked(files, NULL);
	if (r == 0)
		crew_retire(job->crew, ROLE_MEM);
	return r;
}

/* All descriptors are known; sockets are looked at by net. */
static int take_collected(struct job *job, struct fault *f)
{
	Reply *files = crew_answer(job->crew, ROLE_FILES, REPLY__BODY_FILES_COLLECTED, f);
	int r = 0;

	if (!files)
		return -1;
	if (socket_list_count(files->files_collected->socket))
		r = sockets_dump(job, files->files_collected, state(job)->collected->mem_collected,
				 f);
	if (r == 0)
		state(job)->found = take_ptr(&files);
	if (files)
		reply__free_unpacked(files, NULL);
	return r;
}

/* A mapping of a socket is described by the id files gave the socket; else memory need not wait. */
static int take_collected_early(struct job *job, struct fault *f)
{
	const MemCollected *m = state(job)->collected->mem_collected;

	return m->n_socket ? take_collected(job, f) : 0;
}

static int show_devices(struct job *job, struct fault *f)
{
	const struct dump_state *d = state(job);

	return devices_dump(job, d->found->files_collected, d->collected->mem_collected, f);
}

static int write_images(struct job *job, struct fault *f)
{
	struct dump_state *d = state(job);

	if (take_collected_early(job, f) < 0 || ask_mem_write(job, f) < 0)
		return -1;
	step(job, "writing");
	/* Many descriptors take longer to collect than our part takes. */
	if (core_dump_gather(d->cores, f) < 0 || core_dump_write(d->cores, f) < 0 ||
	    seal_tree(job, f) < 0 || clocks_write(job, core_dump_clocks(d->cores), f) < 0 ||
	    cgroup_sets_write(d->sets, job->image_dir, f) < 0)
		return -1;
	if ((!d->found && take_collected(job, f) < 0) || show_devices(job, f) < 0 ||
	    ask_files_write(job, f) < 0 || take_written(job, f) < 0)
		return -1;
	return devices_late(job, f);
}

/* ---- seal, release ---- */

static int seal(struct job *job, struct fault *f)
{
	return seal_inventory(job, f);
}

static enum thaw final_state(const Options *opts)
{
	return opts->leave_running ? THAW_RUN : opts->leave_stopped ? THAW_STOP : THAW_KILL;
}

static int ask_files_seal(struct job *job, struct fault *f)
{
	FilesSeal msg = FILES_SEAL__INIT;
	Request req = REQUEST__INIT;

	req.body_case = REQUEST__BODY_FILES_SEAL;
	req.files_seal = &msg;
	return crew_ask(job->crew, ROLE_FILES, STAGE__SEAL, &req, NULL, f);
}

static void write_stats(struct job *job)
{
	struct fault f = { 0 };

	if (seal_stats(job, &f) < 0)
		log_warnx("no statistics: %s", f.text);
}

/* Tasks that run on must not meet the files worker's duplicates of their descriptors. */
static int run_on(struct job *job, enum thaw how, struct fault *f)
{
	if (ask_files_seal(job, f) < 0 || sockets_seal(job, false, f) < 0 ||
	    sockets_sealed(job, f) < 0)
		return -1;
	step(job, "sealed");
	eject_all(job);
	step(job, "ejected");
	devices_end(job, 0);
	thaw_tree(job, how);
	job->timing.frozen_us = job_elapsed_us(job) - state(job)->frozen_at;
	step(job, "released");
	write_stats(job);
	return 0;
}

/* Agents die with their tasks, which takes its time; so does the end of the workers. */
static void end_tree(struct job *job, struct pact *pact)
{
	const bool kept = sockets_kept(job);
	struct fault f = { 0 };
	int r = 0;

	freeze_unwatch();
	pact_bind(pact);
	thaw_tree(job, THAW_KILL);
	pact_end(pact);
	job->timing.frozen_us = job_elapsed_us(job) - state(job)->frozen_at;
	step(job, "killed");
	if (!kept)
		r = sockets_seal(job, true, &f);
	crew_retire(job->crew, ROLE_FILES);
	write_stats(job);
	freeze_bury(job);
	/* The dead tasks' connections are let go when no task can use them any more. */
	if (kept)
		r = sockets_seal(job, true, &f);
	if (r < 0 || sockets_sealed(job, &f) < 0)
		log_warnx("%s", f.text);
	step(job, "released");
}

/* The post-dump script has the last word: when it fails the tasks run on and the images stay. */
static int release(struct job *job, struct fault *f)
{
	enum thaw how = final_state(job->opts);
	struct pact *pact;

	if (scripts_run(job, "post-dump", f) < 0)
		return -1;
	if (how != THAW_KILL)
		return run_on(job, how, f);
	if (pact_make(job, &pact, f) < 0)
		return -1;
	if (sockets_doom(job, f) < 0) {
		pact_end(pact);
		return -1;
	}
	devices_end(job, 0);
	end_tree(job, pact);
	return 0;
}

static const struct stage stages[] = {
	{ "prepare", prepare, NULL },
	{ "pause", pause_devices, unpause_devices },
	{ "freeze", freeze, unfreeze },
	{ "inject", inject, uninject },
	{ "collect", collect, NULL },
	{ "write", write_images, NULL },
	{ "seal", seal, NULL },
	{ "release", release, NULL },
};

int dump(struct job *job, struct fault *f)
{
	struct dump_state d = { 0 };
	int r;

	job->priv = &d;
	r = run_stages(stages, ARRAY_LEN(stages), job, f);
	forget_cores(job);
	cgroup_sets_free(d.sets);
	obstacles_free(&d.obstacles);
	devices_free(job);
	if (d.collected)
		reply__free_unpacked(d.collected, NULL);
	if (d.found)
		reply__free_unpacked(d.found, NULL);
	job->priv = NULL;
	return r;
}
