/* SPDX-License-Identifier: MIT */
/*
 * restore.h - the gpu worker's messages of a restore.
 */
#ifndef STASIS_GPU_RESTORE_H
#define STASIS_GPU_RESTORE_H

#include "workers/common/worker.h"

int on_gpu_prepare(struct call *c, struct fault *f);
int on_gpu_gates(struct call *c, struct fault *f);
int on_gpu_forked(struct call *c, struct fault *f);
int on_gpu_create(struct call *c, struct fault *f);
int on_gpu_unix_restore(struct call *c, struct fault *f);
int on_gpu_resume(struct call *c, struct fault *f);

#endif
