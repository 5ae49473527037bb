/* SPDX-License-Identifier: MIT */
/*
 * kfd_gate.h - have a task open /dev/kfd and restore its KFD process: the kernel takes both from
 * that task alone.
 */
#ifndef STASIS_AMDGPU_KFD_GATE_H
#define STASIS_AMDGPU_KFD_GATE_H

#include "workers/gpu/amdgpu/device.h"

/* As device_ops.kfd_restore. On failure nothing of it stays open here; the task has to go. */
int kfd_gate_restore(void *ctx, struct kfd_order *o, struct fault *f);

#endif
