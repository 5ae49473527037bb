/* SPDX-License-Identifier: MIT */
/*
 * devices_state.h - what devices.c, devices_dump.c and devices_restore.c share.
 */
#ifndef STASIS_DEVICES_STATE_H
#define STASIS_DEVICES_STATE_H

#include "coordinator/job.h"
#include "proto/control/control.pb-c.h"

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

/* Made by the first who asks. */
struct devices *devices_state(struct job *job);
/* Is the gpu worker there, and has it not been told of the end? */
bool devices_take_part(const struct job *job);
/*
 * Ask something of the gpu worker for these tasks, while those of their threads run that drivers
 * want to run; they stand again afterwards, come what may.
 */
int devices_ask_tasks(struct job *job, uint32_t *pids, size_t n, Stage stage, Request *req,
		      struct fault *f);
/* Queues that we stopped run again; every task is still traced, or dead. */
int devices_unpause(struct job *job, struct fault *f);

#endif
