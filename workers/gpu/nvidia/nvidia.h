/* SPDX-License-Identifier: MIT */
/*
 * nvidia.h - the driver of NVIDIA GPUs: a row for the gpu worker's chain (workers/gpu/driver.h).
 */
#ifndef STASIS_GPU_NVIDIA_H
#define STASIS_GPU_NVIDIA_H

#include "workers/gpu/driver.h"

extern struct driver nvidia_driver;

#endif
