/* SPDX-License-Identifier: MIT */
/*
 * devices_restore.c - what the gpu worker is asked in a restore, in the order of the functions
 * here.
 *
 * Rights:   none.
 * Holds:    nothing of its own: job->devices.
 */
#include "coordinator/devices.h"

#include <errno.h>

#include "coordinator/crew.h"
#include "coordinator/devices_state.h"
#include "coordinator/rebuild.h"
#include "proto/control/util.h"
#include "workers/common/plugin_dir.h"

/*
 * Rounds in which nothing is made: a plugin may ask for another try for reasons of its own, which
 * may pass; a driver of ours never does.
 */
#define IDLE_ROUNDS 3

static bool is_needed(const struct job *job, const FilesPrepared *files, const MemPrepared *memory)
{
	return files->n_device || memory->n_device || job->plugins.n || plugin_dir_any(job->opts);
}

static void note(struct job *job, const FilesPrepared *files, const MemPrepared *memory)
{
	struct devices *d = devices_state(job);
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

	if (!is_needed(job, files, memory))
		return 0;
	note(job, files, memory);
	rebuild_describe(job, tasks, list);
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

	if (!devices_take_part(job))
		return 0;
	req.body_case = REQUEST__BODY_GPU_FORKED;
	req.gpu_forked = &msg;
	devices_state(job)->forked = true;
	return crew_send(job->crew, ROLE_GPU, STAGE__FORKING, &req, NULL, 0, f);
}

static int take_forked(struct job *job, struct fault *f)
{
	struct devices *d = devices_state(job);

	if (!d->forked)
		return 0;
	d->forked = false;
	return crew_wait(job->crew, ROLE_GPU, NULL, f);
}

int devices_restore_unix(struct job *job, uint32_t ino, int *fd, struct fault *f)
{
	GpuUnixRestore msg = GPU_UNIX_RESTORE__INIT;
	Request req = REQUEST__INIT;

	if (!devices_take_part(job))
		return fault(f, -ENOTSUP, "files.img: unix socket %u is one of a plugin: give the "
			     "folder of that plugin with --libdir", ino);
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
	struct devices *d = devices_state(job);
	GpuCreate msg = GPU_CREATE__INIT;
	Request req = REQUEST__INIT;

	msg.n_spare = rebuild_spare_fds(job, ROLE_GPU, spare, list);
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
	if (!devices_take_part(job))
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

/* What has not been made waits. Ids that we did not ask for are refused by who is told of them. */
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
	Reply *rep = crew_answer(job->crew, ROLE_GPU, REPLY__BODY_GPU_CREATED, f);
	long n;

	devices_state(job)->creating = false;
	if (!rep)
		return -1;
	n = rep->gpu_created->n_id;
	if (note_waiting(devices_state(job), rep, f) < 0 ||
	    give_files(job, rep->gpu_created, f) < 0)
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
	struct devices *d = devices_state(job);
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

	if (!devices_take_part(job))
		return 0;
	/* A tree without memory to build has asked for nothing yet. */
	if (!devices_state(job)->creating && devices_create(job, f) < 0)
		return -1;
	if (create_rest(job, f) < 0)
		return -1;
	if (!devices_state(job)->maps)
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
	int r;

	if (!devices_take_part(job))
		return 0;
	msg.pid = pids = job_living(job, &msg.n_pid);
	req.body_case = REQUEST__BODY_GPU_RESUME;
	req.gpu_resume = &msg;
	r = devices_ask_tasks(job, pids, msg.n_pid, STAGE__RELEASE, &req, f);
	if (r == 0) {
		devices_state(job)->ended = true;
		crew_retire(job->crew, ROLE_GPU);
	}
	return r;
}
