/* SPDX-License-Identifier: MIT */
/*
 * kfd.h - an open /dev/kfd: the GPUs, buffers, queues and events of the process that opened it.
 */
#ifndef STASIS_AMDGPU_KFD_H
#define STASIS_AMDGPU_KFD_H

#include "workers/gpu/amdgpu/state.h"
#include "workers/gpu/driver.h"

/* Does this kernel's KFD have what a dump and restore need? */
int kfd_check_version(const struct device *d, struct fault *f);

/*
 * What the tracer was told becomes file->kfd; its buffers are claimed in the table. fds are taken
 * over, also on failure.
 */
int kfd_collect(struct amd *a, struct amd_file *file, const GpuTraced *t, int *fds,
		struct fault *f);
/* All nodes are collected: which of them is the one whose address space KFD took? */
int kfd_find_nodes(struct amd *a, struct amd_file *file, struct fault *f);
/* Owners are known: have the contents of its buffers copied. */
void kfd_save_contents(struct amd *a, struct amd_file *file);

/* Restore it in its task. gate, spare_fd: of that task. *fd: a duplicate, the caller's. */
int kfd_restore(struct amd *a, struct amd_file *file, struct gate *gate, int spare_fd, int *fd,
		struct fault *f);
/* Let its queues run; for each task once. Its mappings are final. */
int kfd_resume(struct amd *a, struct amd_file *file, struct fault *f);

#endif
