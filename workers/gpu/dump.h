/* SPDX-License-Identifier: MIT */
/*
 * dump.h - the gpu worker's messages of a dump.
 */
#ifndef STASIS_GPU_DUMP_H
#define STASIS_GPU_DUMP_H

#include "workers/common/worker.h"
#include "workers/gpu/gpu.h"

int on_gpu_preflight(struct call *c, struct fault *f);
int on_gpu_pause(struct call *c, struct fault *f);
int on_gpu_helpers(struct call *c, struct fault *f);
int on_gpu_checkpoint(struct call *c, struct fault *f);
int on_gpu_collect(struct call *c, struct fault *f);
int on_gpu_traced(struct call *c, struct fault *f);
int on_gpu_write(struct call *c, struct fault *f);
int on_gpu_unix_dump(struct call *c, struct fault *f);
int on_gpu_late(struct call *c, struct fault *f);
int on_gpu_end(struct call *c, struct fault *f);

/* Let go of what GpuCollect saw. */
void dump_end(struct gpu *g);

#endif
