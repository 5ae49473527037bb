/* SPDX-License-Identifier: MIT */
/*
 * amdgpu.c - the row of hooks: gives each what the worker has for it, and passes on to operation.c.
 *
 * Rights:   see README.md.
 * Holds:    the operation (driver.ctx), from init to exit.
 */
#include "workers/gpu/amdgpu/amdgpu.h"

#include <errno.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/operation.h"

static void tell_copied(void *ctx, uint32_t minor, const struct timespec *begun,
			const struct timespec *done)
{
	AUTO_FREE char *what = xasprintf("contents, renderD%u", minor);

	gpu_beside(ctx, what, begun, done);
}

static int amdgpu_init(struct driver *d, enum driver_stage stage, struct fault *f)
{
	const struct device kernel = { &kernel_device, NULL };
	struct amd *a = xcalloc(1, sizeof(*a));

	(void)stage;
	if (op_begin(a, &kernel, gpu_image_dir(d->gpu), gpu_fdstore(d->gpu), gpu_botable(d->gpu),
		     f) < 0) {
		free(a);
		return -1;
	}
	a->watch = (struct copy_watch){ tell_copied, d->gpu };
	a->compress = gpu_opts(d->gpu)->compress;
	d->ctx = a;
	return 0;
}

static void amdgpu_exit(struct driver *d, enum driver_stage stage, int result)
{
	(void)stage;
	(void)result;
	if (d->ctx)
		op_end(d->ctx);
	free(d->ctx);
	d->ctx = NULL;
}

static enum hook_answer notice_file(struct driver *d, int fd, struct fault *f)
{
	return op_notice_file(d->ctx, fd, f);
}

static enum hook_answer judge_file(struct driver *d, const DeviceFile *file, int fd,
				   const char **deed, struct fault *f)
{
	enum hook_answer r = op_judge_file(d->ctx, fd, deed, f);

	if (r == HOOK_FAILED)
		fault_prefix(f, "%s", file->name);
	return r;
}

static enum hook_answer judge_map(struct driver *d, const DeviceMap *map, const char **deed,
				  struct fault *f)
{
	return op_judge_map(d->ctx, map, deed, f);
}

static enum hook_answer handle_vma(struct driver *d, const DeviceMap *map, int fd,
				   const struct stat *st, struct fault *f)
{
	(void)fd;
	return op_handle_vma(d->ctx, map, st, f);
}

static enum hook_answer wants_trace(struct driver *d, const DeviceFile *file, int fd,
				    struct fault *f)
{
	return op_wants_trace(d->ctx, file, fd, f);
}

static enum hook_answer traced(struct driver *d, const GpuTraced *t, int *fds, struct fault *f)
{
	return op_traced(d->ctx, t, fds, f);
}

static enum hook_answer dump_file(struct driver *d, const DeviceFile *file, int fd, struct fault *f)
{
	enum hook_answer r = op_dump_file(d->ctx, file, fd, f);

	d->used = d->used || r == HOOK_DONE;
	return r;
}

static enum hook_answer dump_late(struct driver *d, pid_t root, struct fault *f)
{
	const struct amd *a = d->ctx;
	enum hook_answer r = op_dump_late(d->ctx, f);

	(void)root;
	d->marked = a->compressed;
	return r;
}

static enum hook_answer prepare(struct driver *d, const GpuPrepare *req, struct fault *f)
{
	return op_prepare(d->ctx, req, f);
}

/* What a task must do itself has time until its memory stands: mem has the gates till then. */
static enum hook_answer restore_file(struct driver *d, uint32_t id, int *fd, struct fault *f)
{
	pid_t pid = op_task_of(d->ctx, id);
	struct gate *gate;

	if (pid <= 0)
		return op_restore_file(d->ctx, id, NULL, -1, fd, f);
	if (!gpu_memory_built(d->gpu))
		return HOOK_RETRY;
	gate = gpu_gate(d->gpu, pid);
	return op_restore_file(d->ctx, id, gate, gpu_spare_fd(d->gpu, pid), fd, f);
}

static enum hook_answer update_map(struct driver *d, const DeviceMap *map, uint64_t *offset,
				   int *fd, struct fault *f)
{
	return op_update_map(d->ctx, map, offset, fd, f);
}

static int barrier(struct driver *d, struct fault *f)
{
	return op_barrier(d->ctx, f);
}

static enum hook_answer resume(struct driver *d, pid_t pid, struct fault *f)
{
	return op_resume(d->ctx, pid, f);
}

static const struct driver_ops ops = {
	.init = amdgpu_init,
	.exit = amdgpu_exit,
	.notice_file = notice_file,
	.judge_file = judge_file,
	.judge_map = judge_map,
	.handle_vma = handle_vma,
	.wants_trace = wants_trace,
	.traced = traced,
	.dump_file = dump_file,
	.dump_late = dump_late,
	.prepare = prepare,
	.restore_file = restore_file,
	.update_map = update_map,
	.barrier = barrier,
	.resume = resume,
};

struct driver amdgpu_driver = {
	.name = "amdgpu_plugin", .mark = "stasis_compressed_device_memory", .ops = &ops,
};
