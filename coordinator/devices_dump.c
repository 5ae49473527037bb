/* SPDX-License-Identifier: MIT */
/*
 * devices_dump.c - what the gpu worker is asked in a dump, in the order of the functions here.
 *
 * Rights:   being the tracer, for what KFD tells the tracer alone.
 * Holds:    nothing of its own: job->devices.
 */
#include "coordinator/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "coordinator/crew.h"
#include "coordinator/devices_state.h"
#include "coordinator/kfd.h"
#include "proto/control/util.h"
#include "workers/common/plugin_dir.h"
#include "workers/common/procfs.h"

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
	*rep = crew_ask_for(job->crew, ROLE_GPU, STAGE__PREPARE, &req, REPLY__BODY_SURVEYED, f);
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
	struct devices *d = devices_state(job);
	GpuPause msg = GPU_PAUSE__INIT;
	Request req = REQUEST__INIT;
	size_t i;

	if (!devices_take_part(job))
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

	for (i = 0; devices_take_part(job) && i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE &&
		    !is_paused(job->devices, job->tasks[i]->pid))
			return true;
	return false;
}

int devices_checkpoint(struct job *job, struct fault *f)
{
	AUTO_FREE uint32_t *pids = NULL;
	GpuCheckpoint msg = GPU_CHECKPOINT__INIT;
	Request req = REQUEST__INIT;

	if (!devices_take_part(job))
		return 0;
	msg.pid = pids = job_living(job, &msg.n_pid);
	req.body_case = REQUEST__BODY_GPU_CHECKPOINT;
	req.gpu_checkpoint = &msg;
	return devices_ask_tasks(job, pids, msg.n_pid, STAGE__FREEZE, &req, f);
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
	struct devices *d = devices_state(job);
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
			return fault(f, -EPROTO, "the gpu worker wants file %u traced, which is "
				     "none of a device", c->traced[i]);
		if (tell_traced(job, files->device[k], f) < 0)
			return -1;
	}
	return 0;
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
	rep = crew_ask_for(job->crew, ROLE_GPU, STAGE__COLLECT, &req, REPLY__BODY_GPU_COLLECTED, f);
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
	if (!devices_take_part(job))
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
	devices_state(job)->writing = true;
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

	if (!devices_take_part(job))
		return 0;
	if (devices_state(job)->writing && crew_wait(job->crew, ROLE_GPU, NULL, f) < 0)
		return -1;
	devices_state(job)->writing = false;
	msg.root_pid = job->tasks[0]->pid;
	req.body_case = REQUEST__BODY_GPU_LATE;
	req.gpu_late = &msg;
	rep = crew_ask_for(job->crew, ROLE_GPU, STAGE__WRITE, &req, REPLY__BODY_GPU_WRITTEN, f);
	if (!rep)
		return -1;
	take_names(job, rep->gpu_written);
	reply__free_unpacked(rep, NULL);
	return devices_unpause(job, f);
}

int devices_dump_unix(struct job *job, uint32_t ino, int fd, bool *taken, struct fault *f)
{
	GpuUnixDump msg = GPU_UNIX_DUMP__INIT;
	Request req = REQUEST__INIT;
	Reply *rep;

	*taken = false;
	if (!devices_take_part(job))
		return 0;
	msg.id = ino;
	req.body_case = REQUEST__BODY_GPU_UNIX_DUMP;
	req.gpu_unix_dump = &msg;
	if (crew_send(job->crew, ROLE_GPU, STAGE__COLLECT, &req, &fd, 1, f) < 0)
		return -1;
	rep = crew_answer(job->crew, ROLE_GPU, REPLY__BODY__NOT_SET, f);
	if (!rep)
		return -1;
	*taken = rep->status == STATUS__OK;
	reply__free_unpacked(rep, NULL);
	return 0;
}
