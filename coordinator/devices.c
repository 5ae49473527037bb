/* SPDX-License-Identifier: MIT */
/*
 * devices.c - the conversation with the gpu worker, which takes part when there are devices or
 * plugins.
 *
 * files and mem find what is a device's and name it; the coordinator shows it to the gpu worker,
 * whose drivers and plugins take it or not. The stages in which plugins are asked are CRIU's.
 *
 * Rights:   being the tracer, for threads that a driver wants to run.
 * Holds:    job->devices, until devices_free.
 */
#include "coordinator/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "coordinator/crew.h"
#include "coordinator/kfd.h"
#include "coordinator/letrun.h"
#include "coordinator/rebuild.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/plugin_dir.h"
#include "workers/common/procfs.h"

/*
 * Rounds in which nothing is made: a plugin may ask for another try for reasons of its own, which
 * may pass; a driver of ours never does.
 */
#define IDLE_ROUNDS 3

struct devices {
	pid_t *paused;			/* by pid */
	size_t npaused, paused_cap;
	struct kfd_traces *kfd;		/* queues that stand still because of us; NULL: none did */
	bool writing;			/* GpuWrite has not been answered */
	bool ended;
	/* restore */
	uint32_t *file;			/* ids to be made yet */
	size_t nfiles;
	bool forked, creating;		/* not answered yet */
	bool maps;			/* there are some */
};

static struct devices *state(struct job *job)
{
	if (!job->devices)
		job->devices = xcalloc(1, sizeof(*job->devices));
	return job->devices;
}

void devices_free(struct job *job)
{
	struct devices *d = take_ptr(&job->devices);
	size_t i;

	for (i = 0; i < job->plugins.n; i++)
		free(job->plugins.list[i]);
	free(take_ptr(&job->plugins.list));
	job->plugins.n = 0;
	if (!d)
		return;
	kfd_traces_free(d->kfd);
	free(d->paused);
	free(d->file);
	free(d);
}

static bool takes_part(const struct job *job)
{
	return crew_has(job->crew, ROLE_GPU) && !(job->devices && job->devices->ended);
}

static Reply *answer(struct job *job, int body, struct fault *f)
{
	Reply *rep = NULL;

	if (crew_wait(job->crew, ROLE_GPU, &rep, f) < 0)
		return NULL;
	if ((int)rep->body_case == body)
		return rep;
	reply__free_unpacked(rep, NULL);
	fault(f, -EPROTO, "the gpu worker's answer is not the one expected");
	return NULL;
}

static Reply *ask(struct job *job, Stage stage, Request *req, int body, struct fault *f)
{
	if (crew_send(job->crew, ROLE_GPU, stage, req, NULL, 0, f) < 0)
		return NULL;
	return answer(job, body, f);
}

/* Living tasks of the tree; freed by the caller. */
static uint32_t *living(const struct job *job, size_t *n)
{
	uint32_t *pids = xcalloc(job->ntasks, sizeof(*pids));
	size_t i;

	for (*n = i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE)
			pids[(*n)++] = job->tasks[i]->pid;
	return pids;
}

/* ---- dump ---- */

int devices_judge(struct job *job, DeviceFile **file, size_t nfiles, DeviceMap **map, size_t nmaps,
		  Reply **rep, struct fault *f)
{
	GpuPreflight msg = GPU_PREFLIGHT__INIT;
	Request req = REQUEST__INIT;

	*rep = NULL;
	if (!nfiles && !nmaps && !plugin_dir_any(job->opts))
		return 0;
	if (crew_need(job, ROLE_GPU, f) < 0)
		return -1;
	msg.file = file;
	msg.n_file = nfiles;
	msg.map = map;
	msg.n_map = nmaps;
	req.body_case = REQUEST__BODY_GPU_PREFLIGHT;
	req.gpu_preflight = &msg;
	*rep = ask(job, STAGE__PREPARE, &req, REPLY__BODY_SURVEYED, f);
	return *rep ? 0 : -1;
}

static int by_pid(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

static bool is_paused(const struct devices *d, pid_t pid)
{
	return d->npaused && bsearch(&pid, d->paused, d->npaused, sizeof(pid), by_pid);
}

int devices_pause(struct job *job, const pid_t *pids, size_t n, struct fault *f)
{
	AUTO_FREE uint32_t *list = xcalloc(n, sizeof(*list));
	struct devices *d = state(job);
	GpuPause msg = GPU_PAUSE__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	if (!takes_part(job))
		return 0;
	for (i = 0; i < n; i++)
		if (!is_paused(d, pids[i]))
			list[msg.n_pid++] = pids[i];
	for (i = 0; i < msg.n_pid; i++)
		*(pid_t *)grow(&d->paused, d->npaused++, &d->paused_cap, sizeof(pid_t)) = list[i];
	qsort(d->paused, d->npaused, sizeof(*d->paused), by_pid);
	msg.pid = list;
	req.body_case = REQUEST__BODY_GPU_PAUSE;
	req.gpu_pause = &msg;
	return crew_ask(job->crew, ROLE_GPU, STAGE__PREPARE, &req, NULL, f);
}

bool devices_any_new(const struct job *job)
{
	size_t i;

	for (i = 0; takes_part(job) && i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE &&
		    !is_paused(job->devices, job->tasks[i]->pid))
			return true;
	return false;
}

/* Threads that drivers want to run. NULL with f set. */
static Reply *find_helpers(struct job *job, uint32_t *pids, size_t n, struct fault *f)
{
	GpuHelpers msg = GPU_HELPERS__INIT;
	Request req = REQUEST__INIT;

	msg.pid = pids;
	msg.n_pid = n;
	req.body_case = REQUEST__BODY_GPU_HELPERS;
	req.gpu_helpers = &msg;
	return ask(job, STAGE__FREEZE, &req, REPLY__BODY_GPU_HELPERS_FOUND, f);
}

/*
 * Ask something of the gpu worker while those threads run; they stand again afterwards, come what
 * may.
 */
static int ask_with_helpers(struct job *job, const GpuHelpersFound *helpers, Stage stage,
			    Request *req, struct fault *f)
{
	AUTO_FREE struct letrun *run = xcalloc(helpers->n_thread, sizeof(*run));
	struct fault halt = { 0 };
	size_t i;
	int r = 0;

	for (i = 0; i < helpers->n_thread && r == 0; i++)
		r = freeze_let_run(job, helpers->thread[i], &run[i], f);
	if (r == 0)
		r = crew_ask(job->crew, ROLE_GPU, stage, req, NULL, f);
	for (i = 0; i < helpers->n_thread; i++)
		if (freeze_halt(&run[i], &halt) < 0 && r == 0) {
			*f = halt;
			r = -1;
		}
	return r;
}

int devices_checkpoint(struct job *job, struct fault *f)
{
	AUTO_FREE uint32_t *pids = NULL;
	GpuCheckpoint msg = GPU_CHECKPOINT__INIT;
	Request req = REQUEST__INIT;
	Reply *helpers;
	int r;

	if (!takes_part(job))
		return 0;
	msg.pid = pids = living(job, &msg.n_pid);
	helpers = find_helpers(job, pids, msg.n_pid, f);
	if (!helpers)
		return -1;
	req.body_case = REQUEST__BODY_GPU_CHECKPOINT;
	req.gpu_checkpoint = &msg;
	r = ask_with_helpers(job, helpers->gpu_helpers_found, STAGE__FREEZE, &req, f);
	reply__free_unpacked(helpers, NULL);
	return r;
}

static int ask_kernel(int fd, unsigned long nr, void *arg)
{
	return ioctl(fd, nr, arg);
}

/* What the kernel tells us alone about a file goes to the driver that wants it. */
static int tell_traced(struct job *job, const DeviceFile *file, struct fault *f)
{
	AUTO_CLOSE int fd = procfs_fetch(file->pid, file->fd, f);
	AUTO_FREE int *fds = NULL;
	GpuTraced msg = GPU_TRACED__INIT;
	struct devices *d = state(job);
	Request req = REQUEST__INIT;
	uint32_t i;
	int r;

	if (!d->kfd)
		d->kfd = kfd_traces_new(ask_kernel);
	if (fd < 0 || kfd_trace(d->kfd, file->pid, fd, &msg, &fds, f) < 0)
		return fault_prefix(f, "%s", file->name);
	msg.id = file->id;
	req.body_case = REQUEST__BODY_GPU_TRACED;
	req.gpu_traced = &msg;
	r = crew_send(job->crew, ROLE_GPU, STAGE__COLLECT, &req, fds, msg.nfds, f);
	for (i = 0; i < msg.nfds; i++)
		close(fds[i]);
	kfd_traced_clear(&msg);
	return r < 0 ? -1 : crew_wait(job->crew, ROLE_GPU, NULL, f);
}

static int trace_files(struct job *job, const FilesCollected *files, const GpuCollected *c,
		       struct fault *f)
{
	size_t i, k;

	for (i = 0; i < c->n_traced; i++) {
		for (k = 0; k < files->n_device && files->device[k]->id != c->traced[i]; k++)
			;
		if (k == files->n_device)
			return fault(f, -EPROTO, "the gpu worker wants file %u traced, which is none of a device",
				     c->traced[i]);
		if (tell_traced(job, files->device[k], f) < 0)
			return -1;
	}
	return 0;
}

/* Queues that we stopped run again; every task is still traced, or dead. */
static int unpause(struct job *job, struct fault *f)
{
	return job->devices && job->devices->kfd ? kfd_unpause(job->devices->kfd, f) : 0;
}

static int collect(struct job *job, const FilesCollected *files, const MemCollected *memory,
		   struct fault *f)
{
	GpuCollect msg = GPU_COLLECT__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;
	int r;

	msg.file = files->device;
	msg.n_file = files->n_device;
	msg.map = memory->device;
	msg.n_map = memory->n_device;
	req.body_case = REQUEST__BODY_GPU_COLLECT;
	req.gpu_collect = &msg;
	rep = ask(job, STAGE__COLLECT, &req, REPLY__BODY_GPU_COLLECTED, f);
	if (!rep)
		return -1;
	r = trace_files(job, files, rep->gpu_collected, f);
	reply__free_unpacked(rep, NULL);
	return r;
}

int devices_dump(struct job *job, const FilesCollected *files, const MemCollected *memory,
		 struct fault *f)
{
	GpuWrite msg = GPU_WRITE__INIT;
	Request req = REQUEST__INIT;

	if (!files->n_device && !memory->n_device)
		return 0;
	if (!takes_part(job))
		return fault(
			f, -EAGAIN,
			"task %u began to use a device while it was being stopped: dump it again",
			files->n_device ? files->device[0]->pid : memory->device[0]->pid);
	if (collect(job, files, memory, f) < 0)
		return -1;
	req.body_case = REQUEST__BODY_GPU_WRITE;
	req.gpu_write = &msg;
	if (crew_send(job->crew, ROLE_GPU, STAGE__WRITE, &req, NULL, 0, f) < 0)
		return -1;
	state(job)->writing = true;
	return 0;
}

/* The names stay with the job: seal_inventory writes them. */
static void take_names(struct job *job, GpuWritten *w)
{
	job->plugins.list = take_ptr(&w->plugin);
	job->plugins.n = w->n_plugin;
	w->n_plugin = 0;
}

int devices_late(struct job *job, struct fault *f)
{
	GpuLate msg = GPU_LATE__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;

	if (!takes_part(job))
		return 0;
	if (state(job)->writing && crew_wait(job->crew, ROLE_GPU, NULL, f) < 0)
		return -1;
	state(job)->writing = false;
	msg.root_pid = job->tasks[0]->pid;
	req.body_case = REQUEST__BODY_GPU_LATE;
	req.gpu_late = &msg;
	rep = ask(job, STAGE__WRITE, &req, REPLY__BODY_GPU_WRITTEN, f);
	if (!rep)
		return -1;
	take_names(job, rep->gpu_written);
	reply__free_unpacked(rep, NULL);
	return unpause(job, f);
}

int devices_dump_unix(struct job *job, uint32_t ino, int fd, bool *taken, struct fault *f)
{
	GpuUnixDump msg = GPU_UNIX_DUMP__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;

	*taken = false;
	if (!takes_part(job))
		return 0;
	msg.id = ino;
	req.body_case = REQUEST__BODY_GPU_UNIX_DUMP;
	req.gpu_unix_dump = &msg;
	if (crew_send(job->crew, ROLE_GPU, STAGE__COLLECT, &req, &fd, 1, f) < 0)
		return -1;
	rep = answer(job, REPLY__BODY__NOT_SET, f);
	if (!rep)
		return -1;
	*taken = rep->status == STATUS__OK;
	reply__free_unpacked(rep, NULL);
	return 0;
}

static bool is_frozen(const struct job *job)
{
	size_t i, k;

	for (i = 0; i < job->ntasks; i++)
		for (k = 0; k < job->tasks[i]->nthreads; k++)
			if (job->tasks[i]->threads[k].seized)
				return true;
	return false;
}

/* Frozen tasks that are to live are put right by their helper threads. NULL: none are needed. */
static Reply *helpers_at_end(struct job *job, int result)
{
	const Options *o = job->opts;
	AUTO_FREE uint32_t *pids = NULL;
	struct fault f = { 0 };
	Reply *rep;
	size_t n;

	if (o->mode != MODE__MODE_DUMP || !is_frozen(job) ||
	    (!result && !o->leave_running && !o->leave_stopped))
		return NULL;
	pids = living(job, &n);
	rep = find_helpers(job, pids, n, &f);
	if (!rep)
		log_warnx("at the end of devices: %s", f.text);
	return rep;
}

void devices_end(struct job *job, int result)
{
	const GpuHelpersFound none = GPU_HELPERS_FOUND__INIT;
	GpuEnd msg = GPU_END__INIT;
	Request req = REQUEST__INIT;
	struct fault f = { 0 };
	Reply *helpers;

	if (unpause(job, &f) < 0)
		log_warnx("%s", f.text);
	if (!takes_part(job))
		return;
	helpers = helpers_at_end(job, result);
	state(job)->ended = true;
	msg.result = result;
	req.body_case = REQUEST__BODY_GPU_END;
	req.gpu_end = &msg;
	if (ask_with_helpers(job, helpers ? helpers->gpu_helpers_found : &none, STAGE__SEAL, &req,
			     &f) < 0)
		log_warnx("at the end of devices: %s", f.text);
	if (helpers)
		reply__free_unpacked(helpers, NULL);
}

/* ---- restore ---- */

static bool is_needed(const struct job *job, const FilesPrepared *files, const MemPrepared *memory)
{
	return files->n_device || memory->n_device || job->plugins.n || plugin_dir_any(job->opts);
}

static void note(struct job *job, const FilesPrepared *files, const MemPrepared *memory)
{
	struct devices *d = state(job);
	size_t i;

	d->file = xcalloc(files->n_device, sizeof(*d->file));
	for (i = 0; i < files->n_device; i++)
		if (files->device[i]->n_user)
			d->file[d->nfiles++] = files->device[i]->id;
	d->maps = memory->n_device;
}

int devices_prepare(struct job *job, const FilesPrepared *files, const MemPrepared *memory,
		    struct fault *f)
{
	AUTO_FREE RestoreTask *tasks = xcalloc(job->ntasks, sizeof(*tasks));
	AUTO_FREE RestoreTask **list = xcalloc(job->ntasks, sizeof(*list));
	GpuPrepare msg = GPU_PREPARE__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	if (!is_needed(job, files, memory))
		return 0;
	note(job, files, memory);
	for (i = 0; i < job->ntasks; i++) {
		list[i] = &tasks[i];
		rebuild_describe(job->tasks[i], list[i]);
	}
	msg.task = list;
	msg.n_task = job->ntasks;
	msg.file = files->device;
	msg.n_file = files->n_device;
	msg.map = memory->device;
	msg.n_map = memory->n_device;
	msg.required = job->plugins.list;
	msg.n_required = job->plugins.n;
	msg.has_any_plugin = true;
	msg.any_plugin = !job->plugins.known;
	req.body_case = REQUEST__BODY_GPU_PREPARE;
	req.gpu_prepare = &msg;
	if (crew_need(job, ROLE_GPU, f) < 0)
		return -1;
	return crew_ask(job->crew, ROLE_GPU, STAGE__PREPARE, &req, NULL, f);
}

int devices_forked(struct job *job, struct fault *f)
{
	GpuForked msg = GPU_FORKED__INIT;
	Request req = REQUEST__INIT;

	if (!takes_part(job))
		return 0;
	req.body_case = REQUEST__BODY_GPU_FORKED;
	req.gpu_forked = &msg;
	state(job)->forked = true;
	return crew_send(job->crew, ROLE_GPU, STAGE__FORKING, &req, NULL, 0, f);
}

static int take_forked(struct job *job, struct fault *f)
{
	struct devices *d = state(job);

	if (!d->forked)
		return 0;
	d->forked = false;
	return crew_wait(job->crew, ROLE_GPU, NULL, f);
}

int devices_restore_unix(struct job *job, uint32_t ino, int *fd, struct fault *f)
{
	GpuUnixRestore msg = GPU_UNIX_RESTORE__INIT;
	Request req = REQUEST__INIT;

	if (!takes_part(job))
		return fault(
			f, -ENOTSUP,
			"files.img: unix socket %u is one of a plugin: give the folder of that plugin "
			"with --libdir",
			ino);
	msg.id = ino;
	req.body_case = REQUEST__BODY_GPU_UNIX_RESTORE;
	req.gpu_unix_restore = &msg;
	if (take_forked(job, f) < 0 ||
	    crew_ask(job->crew, ROLE_GPU, STAGE__RESTORE, &req, NULL, f) < 0)
		return -1;
	return crew_recv_fds(job->crew, ROLE_GPU, fd, 1, f);
}

static int send_create(struct job *job, bool memory_built, struct fault *f)
{
	AUTO_FREE SpareFd *spare = xcalloc(job->ntasks, sizeof(*spare));
	AUTO_FREE SpareFd **list = xcalloc(job->ntasks, sizeof(*list));
	struct devices *d = state(job);
	GpuCreate msg = GPU_CREATE__INIT;
	Request req = REQUEST__INIT;

	msg.n_spare = rebuild_spare_fds(job, spare, list);
	msg.spare = list;
	msg.id = d->file;
	msg.n_id = d->nfiles;
	msg.has_memory_built = true;
	msg.memory_built = memory_built;
	req.body_case = REQUEST__BODY_GPU_CREATE;
	req.gpu_create = &msg;
	d->creating = true;
	return crew_send(job->crew, ROLE_GPU, STAGE__RESTORE, &req, NULL, 0, f);
}

int devices_create(struct job *job, struct fault *f)
{
	if (!takes_part(job))
		return 0;
	return take_forked(job, f) < 0 ? -1 : send_create(job, false, f);
}

static int give_files(struct job *job, MadeFiles *made, struct fault *f)
{
	FilesTakeMade msg = FILES_TAKE_MADE__INIT;
	Request req = REQUEST__INIT;

	if (!made->n_id)
		return 0;
	msg.made = made;
	req.body_case = REQUEST__BODY_FILES_TAKE_MADE;
	req.files_take_made = &msg;
	return crew_ask(job->crew, ROLE_FILES, STAGE__RESTORE, &req, NULL, f);
}

/* What has not been made waits; ids we did not ask for are nonsense. */
static int note_waiting(struct devices *d, const Reply *rep, struct fault *f)
{
	size_t i;

	if (rep->n_waits_for + rep->gpu_created->n_id != d->nfiles)
		return fault(f, -EPROTO, "the gpu worker makes %zu files and %zu wait, of %zu",
			     rep->gpu_created->n_id, rep->n_waits_for, d->nfiles);
	d->nfiles = rep->n_waits_for;
	for (i = 0; i < d->nfiles; i++)
		d->file[i] = rep->waits_for[i];
	return 0;
}

/* The answer to a GpuCreate. Returns how many were made, or -1. */
static long take_created(struct job *job, struct fault *f)
{
	Reply *rep = answer(job, REPLY__BODY_GPU_CREATED, f);
	long n;

	state(job)->creating = false;
	if (!rep)
		return -1;
	n = rep->gpu_created->n_id;
	if (note_waiting(state(job), rep, f) < 0 || give_files(job, rep->gpu_created, f) < 0)
		n = -1;
	reply__free_unpacked(rep, NULL);
	return n;
}

static int no_progress(const struct devices *d, struct fault *f)
{
	char ids[200] = "";
	size_t i, len = 0;

	for (i = 0; i < d->nfiles && len < sizeof(ids) - 16; i++)
		len += snprintf(ids + len, sizeof(ids) - len, "%s%u", i ? ", " : "", d->file[i]);
	return fault(f, -EDEADLK,
		     "files.img: %zu files of devices (%s%s) wait for what nobody makes any more",
		     d->nfiles, ids, i < d->nfiles ? ", ..." : "");
}

static int create_rest(struct job *job, struct fault *f)
{
	struct devices *d = state(job);
	int idle = 0;
	long made = take_created(job, f);

	while (made >= 0 && d->nfiles) {
		if (send_create(job, true, f) < 0)
			return -1;
		made = take_created(job, f);
		idle = made > 0 ? 0 : idle + 1;
		if (made == 0 && idle == IDLE_ROUNDS)
			return no_progress(d, f);
	}
	return made < 0 ? -1 : 0;
}

int devices_pass(struct job *job, struct fault *f)
{
	GpuMap msg = GPU_MAP__INIT;
	Request req = REQUEST__INIT;

	if (!takes_part(job))
		return 0;
	/* A tree without memory to build has asked for nothing yet. */
	if (!state(job)->creating && devices_create(job, f) < 0)
		return -1;
	if (create_rest(job, f) < 0)
		return -1;
	if (!state(job)->maps)
		return 0;
	req.body_case = REQUEST__BODY_GPU_MAP;
	req.gpu_map = &msg;
	return crew_ask(job->crew, ROLE_GPU, STAGE__RESTORE, &req, NULL, f);
}

int devices_resume(struct job *job, struct fault *f)
{
	AUTO_FREE uint32_t *pids = NULL;
	GpuResume msg = GPU_RESUME__INIT;
	Request req = REQUEST__INIT;
	Reply *helpers;
	int r;

	if (!takes_part(job))
		return 0;
	msg.pid = pids = living(job, &msg.n_pid);
	helpers = find_helpers(job, pids, msg.n_pid, f);
	if (!helpers)
		return -1;
	req.body_case = REQUEST__BODY_GPU_RESUME;
	req.gpu_resume = &msg;
	r = ask_with_helpers(job, helpers->gpu_helpers_found, STAGE__RELEASE, &req, f);
	reply__free_unpacked(helpers, NULL);
	if (r == 0) {
		state(job)->ended = true;
		crew_retire(job->crew, ROLE_GPU);
	}
	return r;
}
