/* SPDX-License-Identifier: MIT */
/*
 * around.h - `check PID`: what else the tree has, for a file that is judged while tasks run.
 */
#ifndef STASIS_AMDGPU_AROUND_H
#define STASIS_AMDGPU_AROUND_H

#include "workers/gpu/amdgpu/state.h"

/* fd is one of the tree's files, the caller's: all are noted before the first is judged. */
int around_note(struct amd *a, int fd, const struct device_id *id, struct fault *f);
/*
 * Can the owner of this buffer (its dmabuf's inode) be dumped with the tree? 1: a render node is;
 * 0: none is, but KFD may be, which tells its buffers to a dump alone; -1 with f set: none is, as
 * the dump would say it. Before the first around_note: 0.
 */
int around_owner(struct amd *a, uint64_t inode, struct fault *f);
/* The same of all buffers that a node has from another device: -1 with f naming one. */
int around_imports(struct amd *a, int fd, struct fault *f);
void around_free(struct around *r);

#endif
