/* SPDX-License-Identifier: MIT */
/*
 * devices.c - the conversation with the gpu worker, which takes part when there are devices or
 * plugins.
 *
 * files and mem find what is a device's and name it; the coordinator shows it to the gpu worker,
 * whose drivers and plugins take it or not. The stages in which plugins are asked are CRIU's. Here
 * is what devices_dump.c and devices_restore.c share, and the end of both.
 *
 * Rights:   being the tracer, for threads that a driver wants to run.
 * Holds:    job->devices, until devices_free.
 */
#include "coordinator/devices.h"

#include <errno.h>
#include <stdlib.h>

#include "coordinator/crew.h"
#include "coordinator/devices_state.h"
#include "coordinator/kfd.h"
#include "coordinator/letrun.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

struct devices *devices_state(struct job *job)
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

bool devices_take_part(const struct job *job)
{
	return crew_has(job->crew, ROLE_GPU) && !(job->devices && job->devices->ended);
}

/* Threads that drivers want to run; the caller's. NULL with f set. */
static Reply *ask_helpers(struct job *job, uint32_t *pids, size_t n, struct fault *f)
{
	GpuHelpers msg = GPU_HELPERS__INIT;
	Request req = REQUEST__INIT;

	msg.pid = pids;
	msg.n_pid = n;
	req.body_case = REQUEST__BODY_GPU_HELPERS;
	req.gpu_helpers = &msg;
	return crew_ask_for(job->crew, ROLE_GPU, STAGE__FREEZE, &req, REPLY__BODY_GPU_HELPERS_FOUND,
			    f);
}

/* Ask something of the gpu worker while these threads run; they stand again afterwards. */
static int ask_with_helpers(struct job *job, const GpuHelpersFound *helpers, Stage stage,
			    Request *req, struct fault *f)
{
	AUTO_FREE struct letrun *run = xcalloc(helpers->n_thread, sizeof(*run));
	struct fault halt = { 0 };
	size_t i;
	int r = 0;

	for (i = 0; i < helpers->n_thread && r == 0; i++)
		r = letrun_begin(job, helpers->thread[i], &run[i], f);
	if (r == 0)
		r = crew_ask(job->crew, ROLE_GPU, stage, req, NULL, f);
	for (i = 0; i < helpers->n_thread; i++)
		if (letrun_end(&run[i], &halt) < 0 && r == 0) {
			*f = halt;
			r = -1;
		}
	return r;
}

int devices_ask_tasks(struct job *job, uint32_t *pids, size_t n, Stage stage, Request *req,
		      struct fault *f)
{
	Reply *helpers = ask_helpers(job, pids, n, f);
	int r;

	if (!helpers)
		return -1;
	r = ask_with_helpers(job, helpers->gpu_helpers_found, stage, req, f);
	reply__free_unpacked(helpers, NULL);
	return r;
}

int devices_unpause(struct job *job, struct fault *f)
{
	return job->devices && job->devices->kfd ? kfd_unpause(job->devices->kfd, f) : 0;
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
	pids = job_living(job, &n);
	rep = ask_helpers(job, pids, n, &f);
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

	if (devices_unpause(job, &f) < 0)
		log_warnx("%s", f.text);
	if (!devices_take_part(job))
		return;
	helpers = helpers_at_end(job, result);
	devices_state(job)->ended = true;
	msg.result = result;
	req.body_case = REQUEST__BODY_GPU_END;
	req.gpu_end = &msg;
	if (ask_with_helpers(job, helpers ? helpers->gpu_helpers_found : &none, STAGE__SEAL, &req,
			     &f) < 0)
		log_warnx("at the end of devices: %s", f.text);
	if (helpers)
		reply__free_unpacked(helpers, NULL);
}
