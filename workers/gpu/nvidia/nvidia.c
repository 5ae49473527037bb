/* SPDX-License-Identifier: MIT */
/*
 * nvidia.c - NVIDIA GPUs as a driver of the gpu worker: hooks that name what cuda.c does.
 *
 * Nothing of the device is in images of ours: its memory is moved into the task's own, and the
 * inventory says that somebody must move it back. That is called cuda_plugin, as CRIU's plugin
 * that does the same.
 *
 * Rights:   those of cuda.c.
 * Holds:    ctx from init to exit; see cuda.c.
 */
#include "workers/gpu/nvidia/nvidia.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/gpu/nvidia/cuda.h"
#include "workers/gpu/nvidia/held.h"

#define NAME "cuda_plugin"

static int init(struct driver *d, enum driver_stage stage, struct fault *f)
{
	(void)stage;
	(void)f;
	d->ctx = cuda_new(gpu_opts(d->gpu));
	d->used = false;
	return 0;
}

/*
 * Of tasks to be killed, and of those that could not be put right, ctx stays: its keeper is armed.
 */
static void end(struct driver *d, enum driver_stage stage, int result)
{
	const Options *o = gpu_opts(d->gpu);
	bool run_on = result || o->leave_running || o->leave_stopped;

	if (d->ctx && (stage != DRIVER_DUMP || cuda_end(d->ctx, run_on)))
		cuda_free(take_ptr(&d->ctx));
}

static enum hook_answer answer(int r)
{
	return r < 0 ? HOOK_FAILED : r ? HOOK_DONE : HOOK_NOT_MINE;
}

static bool is_ours(int fd)
{
	char link[32], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	return held_is_device(path);
}

static enum hook_answer judge(struct driver *d, pid_t pid, const char *name, const char **deed,
			      struct fault *f)
{
	*deed = "NVIDIA device: the driver moves what CUDA has there into the task's memory, and "
		"back";
	return answer(cuda_judge(d->ctx, pid, name, f));
}

static enum hook_answer judge_file(struct driver *d, const DeviceFile *file, int fd,
				   const char **deed, struct fault *f)
{
	return is_ours(fd) ? judge(d, file->pid, file->name, deed, f) : HOOK_NOT_MINE;
}

static enum hook_answer judge_map(struct driver *d, const DeviceMap *map, const char **deed,
				  struct fault *f)
{
	AUTO_FREE char *name = xasprintf("task %u, mapping %llx (%s)", map->pid,
					 (unsigned long long)map->start, map->path);

	return held_is_device(map->path) ? judge(d, map->pid, name, deed, f) : HOOK_NOT_MINE;
}

static enum hook_answer pause_task(struct driver *d, pid_t pid, struct fault *f)
{
	int r = cuda_pause(d->ctx, pid, f);

	d->used |= r > 0;
	return answer(r);
}

static enum hook_answer helper(struct driver *d, pid_t pid, pid_t *tid, struct fault *f)
{
	return answer(cuda_helper(d->ctx, pid, tid, f));
}

static enum hook_answer checkpoint(struct driver *d, pid_t pid, struct fault *f)
{
	return answer(cuda_checkpoint(d->ctx, pid, f));
}

static enum hook_answer handle_vma(struct driver *d, const DeviceMap *map, int fd,
				   const struct stat *st, struct fault *f)
{
	(void)fd;
	(void)st;
	return held_is_device(map->path) ? answer(cuda_leftover(d->ctx, map->pid, f)) :
					   HOOK_NOT_MINE;
}

static enum hook_answer dump_file(struct driver *d, const DeviceFile *file, int fd, struct fault *f)
{
	return is_ours(fd) ? answer(cuda_leftover(d->ctx, file->pid, f)) : HOOK_NOT_MINE;
}

static enum hook_answer prepare(struct driver *d, const GpuPrepare *req, struct fault *f)
{
	size_t i;

	for (i = 0; i < req->n_required; i++)
		if (!strcmp(req->required[i], NAME))
			return cuda_require(d->ctx, f) < 0 ? HOOK_FAILED : HOOK_DONE;
	return HOOK_NOT_MINE;
}

static enum hook_answer resume(struct driver *d, pid_t pid, struct fault *f)
{
	return answer(cuda_resume(d->ctx, pid, f));
}

static const struct driver_ops ops = {
	.init = init,
	.exit = end,
	.judge_file = judge_file,
	.judge_map = judge_map,
	.pause = pause_task,
	.helper = helper,
	.checkpoint = checkpoint,
	.handle_vma = handle_vma,
	.dump_file = dump_file,
	.prepare = prepare,
	.resume = resume,
};

struct driver nvidia_driver = { .name = NAME, .ops = &ops };
