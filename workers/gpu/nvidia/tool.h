/* SPDX-License-Identifier: MIT */
/*
 * tool.h - NVIDIA's checkpoint interface: libcuda's cuCheckpointProcess* or the program cuda-
 * checkpoint.
 *
 * Every call is made in a child: it may hang, and libcuda is no guest for a process that forks.
 */
#ifndef STASIS_NVIDIA_TOOL_H
#define STASIS_NVIDIA_TOOL_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/control/fault.h"

/* Values of CUprocessState (cuda.h, CUDA 12.8 to 13.4). */
enum cuda_state {
	CUDA_RUNNING = 0,
	CUDA_LOCKED = 1,		/* calls of the API wait */
	CUDA_CHECKPOINTED = 2,		/* and its device memory is in its own, no device is open */
	CUDA_FAILED = 3,		/* the driver gave it up */
	CUDA_CHANGING = 4,		/* it is between two of these */
};

enum tool_deed {
	TOOL_GET_STATE,
	TOOL_GET_TID,
	TOOL_LOCK,
	TOOL_CHECKPOINT,
	TOOL_RESTORE,
	TOOL_UNLOCK,
};

struct tool {
	enum { TOOL_NONE, TOOL_LIBCUDA, TOOL_PROGRAM } kind;
	char *path;			/* of the library or the program; owned */
	bool has_timeout;		/* it can limit the time of a lock itself */
	int busy_fd;			/* children hold it while they live; -1: not needed */
	unsigned patience_ms;		/* of a lock; of the others without progress; 0: no limit */
};

/*
 * Find one: STASIS_CUDA says "libcuda", "program", or the path of either; without it libcuda.so.1
 * is tried first, then cuda-checkpoint in PATH. -1 with f set: none is usable, and what to do.
 */
int tool_find(struct tool *t, struct fault *f);
void tool_forget(struct tool *t);

/* Faults of the following do not name the task. */

/* An enum cuda_state; -1 with f set. */
int tool_state(const struct tool *t, pid_t pid, struct fault *f);
/*
 * The thread of a CUDA task that does the work of checkpoint and restore, also of a stopped one.
 * 1: *tid is set; 0: this is no CUDA task, f says how the tool puts it; -1 with f set.
 */
int tool_restore_tid(const struct tool *t, pid_t pid, pid_t *tid, struct fault *f);
/* One of the other deeds. tid: that thread, by whose work progress is told; 0: not known. */
int tool_do(const struct tool *t, enum tool_deed deed, pid_t pid, pid_t tid, struct fault *f);

#endif
