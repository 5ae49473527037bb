/* SPDX-License-Identifier: MIT */
/*
 * operation.h - the hooks of this driver, without the worker around them (amdgpu.c adds that): a
 * dump or a restore from its first question to its end.
 */
#ifndef STASIS_AMDGPU_OPERATION_H
#define STASIS_AMDGPU_OPERATION_H

#include "workers/gpu/amdgpu/state.h"
#include "workers/gpu/driver.h"

struct gate;

/* store and table stay the caller's, and live until op_end. -1: the environment's switches are
 * wrong. */
int op_begin(struct amd *a, const struct device *d, int image_dir, struct fdstore *store,
	     struct botable *table, struct fault *f);
/* Good or not: threads end, descriptors close. */
void op_end(struct amd *a);

/* As in struct driver_ops. */
enum hook_answer op_notice_file(struct amd *a, int fd, struct fault *f);
enum hook_answer op_judge_file(struct amd *a, int fd, const char **deed, struct fault *f);
enum hook_answer op_judge_map(struct amd *a, const DeviceMap *map, const char **deed,
			      struct fault *f);
enum hook_answer op_wants_trace(struct amd *a, const DeviceFile *file, int fd, struct fault *f);
enum hook_answer op_handle_vma(struct amd *a, const DeviceMap *map, const struct stat *st,
			       struct fault *f);
enum hook_answer op_traced(struct amd *a, const GpuTraced *t, int *fds, struct fault *f);
enum hook_answer op_dump_file(struct amd *a, const DeviceFile *file, int fd, struct fault *f);
enum hook_answer op_dump_late(struct amd *a, struct fault *f);
enum hook_answer op_prepare(struct amd *a, const GpuPrepare *req, struct fault *f);
/* The task that must restore it: 0, any. -1: no file of ours. */
pid_t op_task_of(struct amd *a, uint32_t id);
enum hook_answer op_restore_file(struct amd *a, uint32_t id, struct gate *gate, int spare_fd,
				 int *fd, struct fault *f);
enum hook_answer op_update_map(struct amd *a, const DeviceMap *map, uint64_t *offset, int *fd,
			       struct fault *f);
int op_barrier(struct amd *a, struct fault *f);
enum hook_answer op_resume(struct amd *a, pid_t pid, struct fault *f);

#endif
