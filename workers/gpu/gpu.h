/* SPDX-License-Identifier: MIT */
/*
 * gpu.h - the gpu worker: devices, by drivers of ours and plugins of others.
 */
#ifndef STASIS_GPU_H
#define STASIS_GPU_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/control/control.pb-c.h"
#include "workers/common/worker.h"

extern struct worker gpu_worker;

/*
 * All state of this worker. Each pointer belongs to the file named behind it, which makes it when
 * it is first needed; nobody else looks inside.
 */
struct gpu {
	const struct worker *worker;	/* options and directories: worker->set */
	Reply *reply;			/* of the request that is served */
	struct drivers *drivers;	/* drivers.c */
	struct fdstore *fdstore;	/* fdstore.h */
	struct botable *botable;	/* botable.h */
	struct tasks *tasks;		/* restore: workers/common/tasks.h */
	struct seen *seen;		/* dump: dump.c */
	GpuPrepare *prepared;		/* restore: as asked, valid to the end */
	bool memory_built;		/* restore: the tasks' memory is what it will be */
};

/* This worker's state, with the call's worker in it. */
struct gpu *gpu_begin(struct call *c);

/* The end of an operation: drivers exit, everything is let go. Nothing when there is none. */
void gpu_end(struct gpu *g, int result);

#endif
