/* SPDX-License-Identifier: MIT */
/*
 * gpu.h - the gpu worker: devices, plugins. It has no messages yet and is not started.
 */
#ifndef STASIS_GPU_H
#define STASIS_GPU_H

#include "workers/common/worker.h"

extern struct worker gpu_worker;

#endif
