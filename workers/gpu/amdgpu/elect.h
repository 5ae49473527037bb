/* SPDX-License-Identifier: MIT */
/*
 * elect.h - dump: everything is collected; who owns which buffer? Then contents are copied and
 * images written.
 */
#ifndef STASIS_AMDGPU_ELECT_H
#define STASIS_AMDGPU_ELECT_H

#include "workers/gpu/amdgpu/state.h"

/* Why a buffer (the inode of its dmabuf) cannot be dumped; -1 with f set. */
int refuse_orphan(uint64_t inode, struct fault *f);
int refuse_foreign(uint64_t inode, struct fault *f);
/* Decide, refuse what has no owner, begin to copy contents (a->copier). */
int elect(struct amd *a, struct fault *f);
/* Contents are copied: write the images. */
int elect_write(struct amd *a, struct fault *f);

#endif
