/* SPDX-License-Identifier: MIT */
/*
 * plan.h - restore, before any task exists: read and check the images of this driver, find places
 * for GPUs, owners for buffers.
 */
#ifndef STASIS_AMDGPU_PLAN_H
#define STASIS_AMDGPU_PLAN_H

#include "workers/gpu/amdgpu/state.h"

/* Files without an image of ours are left alone. */
int plan(struct amd *a, const GpuPrepare *req, struct fault *f);

#endif
