/* SPDX-License-Identifier: MIT */
/*
 * check.h - the fields of an image of this driver, which come from a stranger.
 */
#ifndef STASIS_AMDGPU_CHECK_H
#define STASIS_AMDGPU_CHECK_H

#include "workers/gpu/amdgpu/state.h"

/* All counts, numbers and ranges of file->kfd, node or dmabuf; sets file->order. -1 with f naming
 * the field. */
int check_image(struct amd_file *file, struct fault *f);

#endif
