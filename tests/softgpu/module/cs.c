// SPDX-License-Identifier: GPL-2.0
/*
 * cs.c - command submission: contexts, lists of buffers, CS and the waits for it.
 *
 * How a bad copy shows is the module's fail_mode. 0: the submission fails, so work runs on the CPU
 * before CS returns. 1 and 2: the wait fails, or never ends (until its time is over); then a kernel
 * thread does the work, in the order of a file's submissions, beside whoever submitted it, as an
 * engine does.
 */
#include "softgpu.h"

#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

struct context {
	u64 last;		/* highest fence given out */
	u64 done;		/* work of it and those before is over */
	u64 bad;		/* the first fence whose work failed, 0: none */
	int error;
};

int softgpu_ioctl_ctx(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct softgpu_file *file = filp->driver_priv;
	union drm_amdgpu_ctx *args = data;
	struct context *ctx;
	u32 op = args->in.op, id = args->in.ctx_id;
	int r = 0;

	if (op == AMDGPU_CTX_OP_FREE_CTX)
		softgpu_cs_flush(file);
	mutex_lock(&file->lock);
	ctx = idr_find(&file->contexts, id);
	switch (op) {
	case AMDGPU_CTX_OP_ALLOC_CTX:
		ctx = kzalloc(sizeof(*ctx), GFP_KERNEL);
		r = ctx ? idr_alloc(&file->contexts, ctx, 1, 4096, GFP_KERNEL) : -ENOMEM;
		if (r < 0) {
			kfree(ctx);
			break;
		}
		memset(args, 0, sizeof(*args));
		args->out.alloc.ctx_id = r;
		atomic64_inc(&softgpu_count.contexts);
		r = 0;
		break;
	case AMDGPU_CTX_OP_FREE_CTX:
		if (!ctx) {
			r = -EINVAL;
			break;
		}
		kfree(idr_remove(&file->contexts, id));
		atomic64_dec(&softgpu_count.contexts);
		break;
	case AMDGPU_CTX_OP_GET_STABLE_PSTATE:
		r = ctx ? 0 : -EINVAL;
		memset(args, 0, sizeof(*args));
		break;
	case AMDGPU_CTX_OP_QUERY_STATE:
	case AMDGPU_CTX_OP_QUERY_STATE2:
		if (!ctx) {
			r = -EINVAL;
			break;
		}
		memset(args, 0, sizeof(*args));
		if (op == AMDGPU_CTX_OP_QUERY_STATE2 && ctx->bad)
			args->out.state.flags =
				AMDGPU_CTX_QUERY2_FLAGS_RESET | AMDGPU_CTX_QUERY2_FLAGS_GUILTY;
		else if (ctx->bad)
			args->out.state.reset_status = AMDGPU_CTX_GUILTY_RESET;
		break;
	default:
		r = -EINVAL;
	}
	mutex_unlock(&file->lock);
	return r;
}

/* Every entry of a user's list must be a handle of this file. */
static int check_handles(struct drm_file *filp, const struct drm_amdgpu_bo_list_in *in)
{
	struct drm_amdgpu_bo_list_entry entry;
	struct drm_gem_object *obj;
	u32 i;

	if (in->bo_info_size < sizeof(entry) || in->bo_number > 1 << 20)
		return -EINVAL;
	for (i = 0; i < in->bo_number; i++) {
		if (copy_from_user(&entry,
				   u64_to_user_ptr(in->bo_info_ptr + (u64)i * in->bo_info_size),
				   sizeof(entry)))
			return -EFAULT;
		obj = drm_gem_object_lookup(filp, entry.bo_handle);
		if (!obj)
			return -ENOENT;
		drm_gem_object_put(obj);
	}
	return 0;
}

int softgpu_ioctl_bo_list(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct softgpu_file *file = filp->driver_priv;
	union drm_amdgpu_bo_list *args = data;
	u32 id = args->in.list_handle, op = args->in.operation;
	int r = 0;

	if (op == AMDGPU_BO_LIST_OP_CREATE || op == AMDGPU_BO_LIST_OP_UPDATE)
		r = check_handles(filp, &args->in);
	if (r)
		return r;
	mutex_lock(&file->lock);
	if (op == AMDGPU_BO_LIST_OP_CREATE)
		r = idr_alloc(&file->lists, file, 1, 0,
			      GFP_KERNEL); /* only that it exists counts */
	else if (op > AMDGPU_BO_LIST_OP_UPDATE || !idr_find(&file->lists, id))
		r = -EINVAL;
	else if (op == AMDGPU_BO_LIST_OP_DESTROY)
		idr_remove(&file->lists, id);
	mutex_unlock(&file->lock);
	if (r < 0)
		return r;
	memset(args, 0, sizeof(*args));
	args->out.list_handle = op == AMDGPU_BO_LIST_OP_CREATE ? r : id;
	return 0;
}

/* One submission. */
struct job {
	struct work_struct work;
	struct softgpu_file *file;
	u32 ctx_id;
	u64 seq;
	struct drm_gem_object *fence;	/* the user's, counted; NULL: none */
	u32 fence_offset;
	u32 n;
	struct drm_amdgpu_cs_chunk_ib ib[];
};

static int take_ib(struct job *job, const struct drm_amdgpu_cs_chunk *chunk)
{
	struct drm_amdgpu_cs_chunk_ib *ib = &job->ib[job->n];

	if (chunk->length_dw * 4 < sizeof(*ib))
		return -EINVAL;
	if (copy_from_user(ib, u64_to_user_ptr(chunk->chunk_data), sizeof(*ib)))
		return -EFAULT;
	if (ib->ip_type != AMDGPU_HW_IP_DMA || ib->ip_instance || ib->ring > 1)
		return -EINVAL;
	job->n++;
	return 0;
}

static int take_user_fence(struct drm_file *filp, struct job *job,
			   const struct drm_amdgpu_cs_chunk *chunk)
{
	struct drm_amdgpu_cs_chunk_fence fence;

	if (chunk->length_dw * 4 < sizeof(fence) || job->fence)
		return -EINVAL;
	if (copy_from_user(&fence, u64_to_user_ptr(chunk->chunk_data), sizeof(fence)))
		return -EFAULT;
	if (fence.offset % 8)
		return -EINVAL;
	job->fence = drm_gem_object_lookup(filp, fence.handle);
	job->fence_offset = fence.offset;
	return job->fence ? 0 : -ENOENT;
}

static int take_chunk(struct drm_file *filp, struct job *job, u64 at)
{
	struct drm_amdgpu_cs_chunk chunk;

	if (copy_from_user(&chunk, u64_to_user_ptr(at), sizeof(chunk)))
		return -EFAULT;
	switch (chunk.chunk_id) {
	case AMDGPU_CHUNK_ID_IB:
		return take_ib(job, &chunk);
	case AMDGPU_CHUNK_ID_FENCE:
		return take_user_fence(filp, job, &chunk);
	case AMDGPU_CHUNK_ID_DEPENDENCIES:
	case AMDGPU_CHUNK_ID_SCHEDULED_DEPENDENCIES:
	case AMDGPU_CHUNK_ID_BO_HANDLES:
		return 0;	/* what came before ends before; buffers do not move */
	default:
		return -EINVAL;
	}
}

static int run_job(struct job *job)
{
	int r = 0;
	u32 i;

	for (i = 0; i < job->n && r == 0; i++)
		r = softgpu_sdma_run(job->file, job->ib[i].va_start, job->ib[i].ib_bytes);
	/* The number of the fence, where the user wants to see it. */
	if (r == 0 && job->fence)
		r = softgpu_bo_copy(to_bo(job->fence), job->fence_offset, &job->seq,
				    sizeof(job->seq), true);
	return r;
}

static void free_job(struct job *job)
{
	if (job->fence)
		drm_gem_object_put(job->fence);
	kvfree(job);
}

/* Take the next fence of a context, if it and the list exist. */
static int next_fence(struct softgpu_file *file, const struct drm_amdgpu_cs_in *in, u64 *seq)
{
	struct context *ctx;
	int r = -EINVAL;

	mutex_lock(&file->lock);
	ctx = idr_find(&file->contexts, in->ctx_id);
	if (ctx && (!in->bo_list_handle || idr_find(&file->lists, in->bo_list_handle))) {
		*seq = ++ctx->last;
		r = 0;
	}
	mutex_unlock(&file->lock);
	return r;
}

static void end_job(struct job *job, int error)
{
	struct softgpu_file *file = job->file;
	struct context *ctx;

	mutex_lock(&file->lock);
	ctx = idr_find(&file->contexts, job->ctx_id);
	if (ctx) {
		ctx->done = job->seq;
		if (error && !ctx->bad) {
			ctx->bad = job->seq;
			ctx->error = -ETIME;
		}
	}
	mutex_unlock(&file->lock);
	wake_up_all(&file->ended);
	free_job(job);
}

/* In the engine's thread. */
static void engine_run(struct work_struct *work)
{
	struct job *job = container_of(work, struct job, work);

	end_job(job, run_job(job));
}

/* The engine is through with all that was submitted. */
void softgpu_cs_flush(struct softgpu_file *file)
{
	flush_workqueue(file->dev->engine);
}

static int submit(struct job *job)
{
	int r;

	if (softgpu.fail_mode) {
		INIT_WORK(&job->work, engine_run);
		queue_work(job->file->dev->engine, &job->work);
		return 0;
	}
	softgpu_cs_flush(job->file);
	r = run_job(job);
	end_job(job, 0);	/* the caller is told */
	return r;
}

int softgpu_ioctl_cs(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	union drm_amdgpu_cs *args = data;
	struct drm_amdgpu_cs_in in = args->in;
	struct job *job;
	u64 at, seq;
	u32 i;
	int r = 0;

	if (!in.num_chunks || in.num_chunks > 4096)
		return -EINVAL;
	job = kvzalloc(struct_size(job, ib, in.num_chunks), GFP_KERNEL);
	if (!job)
		return -ENOMEM;
	job->file = filp->driver_priv;
	job->ctx_id = in.ctx_id;
	for (i = 0; r == 0 && i < in.num_chunks; i++) {
		if (copy_from_user(&at, u64_to_user_ptr(in.chunks + (u64)i * sizeof(at)),
				   sizeof(at)))
			r = -EFAULT;
		else
			r = take_chunk(filp, job, at);
	}
	if (r == 0)
		r = next_fence(job->file, &in, &job->seq);
	if (r) {
		free_job(job);
		return r;
	}
	seq = job->seq;
	r = submit(job);
	if (r)
		return r;
	atomic64_inc(&softgpu_count.submits);
	memset(args, 0, sizeof(*args));
	args->out.handle = seq;
	return 0;
}

/* Wait until an absolute time of CLOCK_MONOTONIC in ns, or a signal. */
static int sleep_until(u64 timeout)
{
	while (ktime_get_ns() < timeout)
		if (msleep_interruptible(20))
			return -ERESTARTSYS;
	return 0;
}

/*
 * Where a fence stands: 0 not reached yet, 1 over, negative: there is none, or its work failed
 * (*failed).
 */
static int look_at(struct softgpu_file *file, u32 ctx_id, u64 seq, bool *failed)
{
	struct context *ctx;
	int r;

	*failed = false;
	mutex_lock(&file->lock);
	ctx = idr_find(&file->contexts, ctx_id);
	if (!ctx || (seq != ~0ULL && seq > ctx->last)) {
		r = -EINVAL;
	} else if (ctx->bad && seq >= ctx->bad) {
		*failed = true;
		r = ctx->error;
	} else {
		r = ctx->done >= (seq == ~0ULL ? ctx->last : seq);
	}
	mutex_unlock(&file->lock);
	return r;
}

/* The state of one fence: 0 it is over, 1 it is not and the time is, negative: it failed. */
static int wait_one(struct softgpu_file *file, u32 ctx_id, u64 seq, u64 timeout)
{
	u64 now = ktime_get_ns();
	int r = 0, error = 0;
	bool bad;
	long left;

	left = timeout <= now ? 0 :
	       min_t(u64, nsecs_to_jiffies64(timeout - now) + 1, MAX_SCHEDULE_TIMEOUT - 1);
	left = wait_event_interruptible_timeout(file->ended,
						(error = look_at(file, ctx_id, seq, &bad)) != 0,
						left);
	if (left < 0)
		return -ERESTARTSYS;
	if (!error)
		return 1;
	if (!bad)
		return error < 0 ? error : 0;
	if (softgpu.fail_mode < 2)
		return error;
	r = sleep_until(timeout);
	return r ? r : 1;
}

int softgpu_ioctl_wait_cs(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	union drm_amdgpu_wait_cs *args = data;
	int r = wait_one(filp->driver_priv, args->in.ctx_id, args->in.handle, args->in.timeout);

	if (r < 0)
		return r;
	memset(args, 0, sizeof(*args));
	args->out.status = r;
	return 0;
}

int softgpu_ioctl_wait_fences(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	union drm_amdgpu_wait_fences *args = data;
	struct drm_amdgpu_wait_fences_in in = args->in;
	struct drm_amdgpu_fence fence;
	u32 i, first = 0;
	int r = 0;

	if (!in.fence_count || in.fence_count > 4096)
		return -EINVAL;
	for (i = 0; i < in.fence_count; i++) {
		if (copy_from_user(&fence, u64_to_user_ptr(in.fences + i * sizeof(fence)),
				   sizeof(fence)))
			return -EFAULT;
		r = wait_one(filp->driver_priv, fence.ctx_id, fence.seq_no, in.timeout_ns);
		if (r < 0)
			return r;
		first = i;
		if (!!r == !!in.wait_all)
			break;
	}
	memset(args, 0, sizeof(*args));
	args->out.status = r == 0;
	args->out.first_signaled = first;
	return 0;
}

void softgpu_cs_release(struct softgpu_file *file)
{
	struct context *ctx;
	int id;

	idr_for_each_entry(&file->contexts, ctx, id) {
		kfree(ctx);
		atomic64_dec(&softgpu_count.contexts);
	}
}
