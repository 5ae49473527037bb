/* SPDX-License-Identifier: MIT */
/*
 * held.h - what NVIDIA has in a task, as /proc shows it.
 */
#ifndef STASIS_NVIDIA_HELD_H
#define STASIS_NVIDIA_HELD_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/control/fault.h"

enum {
	HELD_DEVICE = 1,	/* a descriptor or a mapping of /dev/nvidia* */
	/* libcuda is mapped: it may be a CUDA task that is checkpointed already */
	HELD_LIBRARY = 2,
};

/* A path of one of NVIDIA's device files. */
bool held_is_device(const char *path);
/* HELD_* of a task; 0 also when it is gone. -1 with f set. */
int held_by(pid_t pid, struct fault *f);

#endif
