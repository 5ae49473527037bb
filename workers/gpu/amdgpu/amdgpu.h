/* SPDX-License-Identifier: MIT */
/*
 * amdgpu.h - the driver of AMD GPUs: /dev/kfd, amdgpu render nodes, dmabufs of GPU buffers.
 */
#ifndef STASIS_AMDGPU_H
#define STASIS_AMDGPU_H

#include "workers/gpu/driver.h"

extern struct driver amdgpu_driver;

#endif
