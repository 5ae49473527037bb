/* SPDX-License-Identifier: MIT */
/*
 * map.h - restore: memory of devices is mapped into the tasks.
 */
#ifndef STASIS_GPU_MAP_H
#define STASIS_GPU_MAP_H

#include "workers/common/worker.h"

int on_gpu_map(struct call *c, struct fault *f);

#endif
