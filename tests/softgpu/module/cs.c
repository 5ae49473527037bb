// SPDX-License-Identifier: GPL-2.0
/*
 * cs.c - command submission: contexts, lists of buffers, CS and the waits for it.
 *
 * Work runs on the CPU before CS returns, so a fence is a number that has been given out. How a
 * bad copy shows is the module's fail_mode: the submission fails, the wait fails, or the wait
 * never ends (until its time is over).
 */
#include "softgpu.h"

#include <linux/delay.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

struct context {
	u64 last;		/* highest fence given out */
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

static int run_ib(struct softgpu_file *file, const struct drm_amdgpu_cs_chunk *chunk)
{
	struct drm_amdgpu_cs_chunk_ib ib;

	if (chunk->length_dw * 4 < sizeof(ib))
		return -EINVAL;
	if (copy_from_user(&ib, u64_to_user_ptr(chunk->chunk_data), sizeof(ib)))
		return -EFAULT;
	if (ib.ip_type != AMDGPU_HW_IP_DMA || ib.ip_instance || ib.ring > 1)
		return -EINVAL;
	return softgpu_sdma_run(file, ib.va_start, ib.ib_bytes);
}

/* The number of the fence, where the user wants to see it. */
static int write_user_fence(struct drm_file *filp, const struct drm_amdgpu_cs_chunk *chunk, u64 seq)
{
	struct drm_amdgpu_cs_chunk_fence fence;
	struct drm_gem_object *obj;
	int r;

	if (chunk->length_dw * 4 < sizeof(fence))
		return -EINVAL;
	if (copy_from_user(&fence, u64_to_user_ptr(chunk->chunk_data), sizeof(fence)))
		return -EFAULT;
	obj = drm_gem_object_lookup(filp, fence.handle);
	if (!obj)
		return -ENOENT;
	r = fence.offset % 8 ? -EINVAL
			     : softgpu_bo_copy(to_bo(obj), fence.offset, &seq, sizeof(seq), true);
	drm_gem_object_put(obj);
	return r;
}

static int run_chunk(struct drm_file *filp, u64 at, u64 seq)
{
	struct drm_amdgpu_cs_chunk chunk;

	if (copy_from_user(&chunk, u64_to_user_ptr(at), sizeof(chunk)))
		return -EFAULT;
	switch (chunk.chunk_id) {
	case AMDGPU_CHUNK_ID_IB:
		return run_ib(filp->driver_priv, &chunk);
	case AMDGPU_CHUNK_ID_FENCE:
		return write_user_fence(filp, &chunk, seq);
	case AMDGPU_CHUNK_ID_DEPENDENCIES:
	case AMDGPU_CHUNK_ID_SCHEDULED_DEPENDENCIES:
	case AMDGPU_CHUNK_ID_BO_HANDLES:
		return 0;	/* what came before has ended; buffers do not move */
	default:
		return -EINVAL;
	}
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

static void note_failure(struct softgpu_file *file, u32 ctx_id, u64 seq)
{
	struct context *ctx;

	mutex_lock(&file->lock);
	ctx = idr_find(&file->contexts, ctx_id);
	if (ctx && !ctx->bad) {
		ctx->bad = seq;
		ctx->error = -ETIME;
	}
	mutex_unlock(&file->lock);
}

int softgpu_ioctl_cs(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct softgpu_file *file = filp->driver_priv;
	union drm_amdgpu_cs *args = data;
	struct drm_amdgpu_cs_in in = args->in;
	u64 at, seq;
	u32 i;
	int r;

	if (!in.num_chunks || in.num_chunks > 4096)
		return -EINVAL;
	r = next_fence(file, &in, &seq);
	for (i = 0; r == 0 && i < in.num_chunks; i++) {
		if (copy_from_user(&at, u64_to_user_ptr(in.chunks + (u64)i * sizeof(at)),
				   sizeof(at)))
			r = -EFAULT;
		else
			r = run_chunk(filp, at, seq);
	}
	if (r && r != -EINVAL && softgpu.fail_mode) {
		note_failure(file, in.ctx_id, seq);
		r = 0;
	}
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

/* The state of one fence: 0 it is over, 1 it is not and the time is, negative: it failed. */
static int wait_one(struct softgpu_file *file, u32 ctx_id, u64 seq, u64 timeout)
{
	struct context *ctx;
	bool bad = false;
	int r = 0, error = 0;

	mutex_lock(&file->lock);
	ctx = idr_find(&file->contexts, ctx_id);
	if (!ctx || (seq != ~0ULL && seq > ctx->last)) {
		r = -EINVAL;
	} else {
		bad = ctx->bad && seq >= ctx->bad;
		error = ctx->error;
	}
	mutex_unlock(&file->lock);
	if (r || !bad)
		return r;
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
