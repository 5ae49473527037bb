/* SPDX-License-Identifier: MIT */
/*
 * drm.h - an open render node: the buffers in its handle table, their mappings in its GPU address
 * space.
 */
#ifndef STASIS_AMDGPU_DRM_H
#define STASIS_AMDGPU_DRM_H

#include "workers/gpu/amdgpu/state.h"
#include "workers/gpu/driver.h"

/* Nothing in it that cannot be dumped? Changes nothing. -1 with f naming what there is. */
int drm_judge(const struct device *d, int fd, struct fault *f);
/*
 * Tell the identity of each buffer: the inode of its dmabuf, which is made if there is none.
 * import: it came from another device; imports_only: no others. Buffers that go meanwhile are left
 * out, as are those that cannot be exported. -1: tell's fault, or ours.
 */
typedef int drm_tell(void *ctx, uint32_t handle, uint64_t inode, bool import, struct fault *f);
int drm_identities(const struct device *d, int fd, bool imports_only, drm_tell *tell, void *ctx,
		   struct fault *f);
/*
 * Read all of a frozen task's file into file->node and claim its buffers in the table; file->fd is
 * the duplicate, file->minor known.
 */
int drm_collect(struct amd *a, struct amd_file *file, struct fault *f);
/* Owners are known: have the contents of its own buffers copied. */
int drm_save_contents(struct amd *a, struct amd_file *file, struct fault *f);

/* Restore: open its node, once. */
int drm_open(struct amd *a, struct amd_file *file, struct fault *f);
/*
 * Make what can be made now. HOOK_RETRY: buffers of other files are missing. Done: *fd is a
 * duplicate, the caller's.
 */
enum hook_answer drm_restore(struct amd *a, struct amd_file *file, int *fd, struct fault *f);
/* A buffer that is there: keep its dmabuf for importers, if there are any. */
int drm_publish(struct amd *a, uint64_t key, int dmabuf, struct fault *f);

#endif
