/* SPDX-License-Identifier: MIT */
/*
 * sdma.h - copy buffers by the GPU's SDMA engine, through libdrm_amdgpu (loaded when first needed).
 */
#ifndef STASIS_AMDGPU_SDMA_H
#define STASIS_AMDGPU_SDMA_H

#include "workers/gpu/amdgpu/device.h"

/* As device_ops.engine_*. drm_fd: an open of the node that nobody else has; it stays the caller's.
 */
struct engine *sdma_open(void *ctx, int drm_fd, size_t staging, struct fault *f);
int sdma_copy(void *ctx, struct engine *e, int dmabuf, uint64_t size, bool to_gpu,
	      const struct copy_ends *ends, struct fault *f);
void sdma_close(void *ctx, struct engine *e);

/* Bytes one copy packet of this family can move, and its count field for n bytes. */
uint64_t sdma_packet_max(uint32_t family);
uint32_t sdma_count(uint32_t family, uint64_t n);

#endif
