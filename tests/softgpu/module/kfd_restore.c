// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_restore.c - the CRIU ioctl of /dev/kfd, RESTORE: a process from its blob, in the calling
 * task.
 *
 * Refused as by the real driver: another version, another number of GPUs, a GPU whose VM somebody
 * acquired already, buffers or objects whose number is taken, and a blob that is not used up to
 * its last byte. What a failed restore has made stays until the process goes, as there.
 */
#include "softgpu.h"

#include <linux/file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <drm/drm_prime.h>

struct reader {
	const u8 *blob;
	u64 at, size;
};

static int take(struct reader *r, void *to, u64 size)
{
	if (size > r->size - r->at)
		return -EINVAL;
	memcpy(to, r->blob + r->at, size);
	r->at += size;
	return 0;
}

static int restore_process(struct kfd_proc *p, struct reader *blob)
{
	struct kfd_blob_process head;
	int r = take(blob, &head, sizeof(head));

	if (r)
		return r;
	if (head.version != KFD_CRIU_VERSION)
		return -EINVAL;
	p->xnack = head.xnack;
	return 0;
}

static struct kfd_pdd *by_actual_id(struct kfd_proc *p, u32 gpu_id)
{
	u32 i;

	for (i = 0; i < p->n_pdds; i++)
		if (p->pdds[i].dev->gpu_id == gpu_id)
			return &p->pdds[i];
	return NULL;
}

static int restore_devices(struct kfd_proc *p, struct kfd_ioctl_criu_args *args,
			   struct reader *blob)
{
	struct kfd_criu_device_bucket __user *from = u64_to_user_ptr(args->devices);
	struct kfd_criu_device_bucket bucket;
	struct kfd_blob_device unused;
	struct kfd_pdd *pdd;
	u32 i;
	int r = 0;

	if (args->num_devices != p->n_pdds)
		return -EINVAL;
	for (i = 0; i < args->num_devices && r == 0; i++) {
		if (copy_from_user(&bucket, &from[i], sizeof(bucket)))
			return -EFAULT;
		pdd = by_actual_id(p, bucket.actual_gpu_id);
		if (!pdd || pdd->file)
			return -EINVAL;
		pdd->user_gpu_id = bucket.user_gpu_id;
		r = kfd_acquire(pdd, bucket.drm_fd);
		if (r == 0)
			r = take(blob, &unused, sizeof(unused));
	}
	return r;
}

static int map_all(struct kfd_proc *p, struct kfd_mem *mem, const struct kfd_blob_bo *saved)
{
	struct kfd_pdd *peer;
	u32 i;
	int r = 0;

	for (i = 0; i < p->n_pdds && saved->mapped_gpuids[i] && r == 0; i++) {
		peer = kfd_pdd_of(p, saved->mapped_gpuids[i]);
		r = peer ? kfd_mem_map(mem, peer) : -EINVAL;
	}
	return r;
}

/* One buffer at its old number and address; its dma-buf comes back for those with contents. */
static int restore_bo(struct kfd_proc *p, struct kfd_criu_bo_bucket *bucket, struct reader *blob,
		      struct file **file)
{
	struct kfd_pdd *pdd = kfd_pdd_of(p, bucket->gpu_id);
	struct kfd_blob_bo saved;
	struct kfd_mem *mem;
	int r = take(blob, &saved, sizeof(saved)), id;

	if (r)
		return r;
	bucket->dmabuf_fd = KFD_INVALID_FD;
	if (!pdd || saved.idr_handle > INT_MAX - 1)
		return -EINVAL;
	mem = kfd_mem_new(pdd, bucket->addr, bucket->size, bucket->alloc_flags, saved.user_addr,
			  &id, saved.idr_handle);
	if (IS_ERR(mem))
		return PTR_ERR(mem);
	if (!(bucket->alloc_flags & KFD_IOC_ALLOC_MEM_FLAGS_USERPTR))
		bucket->restored_offset = mem->offset;
	r = map_all(p, mem, &saved);
	return r ? r : kfd_mem_reserve(mem, &bucket->dmabuf_fd, file);
}

static int restore_bos(struct kfd_proc *p, struct kfd_ioctl_criu_args *args, struct reader *blob,
		       struct kfd_criu_bo_bucket *buckets, struct file **files)
{
	u32 i;
	int r = 0;

	p->blocked = true;
	for (i = 0; i < args->num_bos && r == 0; i++)
		r = restore_bo(p, &buckets[i], blob, &files[i]);
	return r;
}

static int restore_queue(struct kfd_proc *p, struct reader *blob)
{
	struct kfd_ioctl_create_queue_args args;
	struct kfd_blob_queue saved;
	struct kfd_pdd *pdd;
	struct kfd_queue *q;
	int r = take(blob, &saved, sizeof(saved));

	if (r)
		return r;
	pdd = kfd_pdd_of(p, saved.gpu_id);
	if (!pdd || saved.type > KFD_IOC_QUEUE_TYPE_SDMA_XGMI || saved.format > 1 ||
	    saved.q_id >= 1024 || saved.mqd_size != kfd_queue_mqd_size(saved.type) ||
	    saved.ctl_size > 1 << 20)
		return -EINVAL;
	args = (struct kfd_ioctl_create_queue_args){
		.ring_base_address = saved.q_address,
		.ring_size = saved.q_size,
		.read_pointer_address = saved.read_ptr,
		.write_pointer_address = saved.write_ptr,
		.gpu_id = saved.gpu_id,
		.queue_percentage = saved.percent,
		.queue_priority = saved.priority,
		.queue_type = saved.format ? KFD_IOC_QUEUE_TYPE_COMPUTE_AQL : saved.type,
		.eop_buffer_address = saved.eop_address,
		.eop_buffer_size = saved.eop_size,
		.ctx_save_restore_address = saved.ctx_address,
		.ctx_save_restore_size = saved.ctx_size,
		.ctl_stack_size = saved.ctl_size,
	};
	q = kfd_queue_new(pdd, &args, saved.mqd_size, saved.ctl_size, saved.q_id);
	if (IS_ERR(q))
		return PTR_ERR(q) == -ENOSPC ? -EBUSY : PTR_ERR(q);
	q->gws = saved.gws;
	r = take(blob, q->bytes, q->mqd_size + q->ctl_size);
	if (r == 0)
		r = kfd_queue_place(q, saved.doorbell_id, saved.sdma_id);
	if (r)
		kfd_queue_drop(p, q);
	return r;
}

static int restore_event(struct kfd_proc *p, struct reader *blob)
{
	struct kfd_blob_event saved;
	struct kfd_event *ev;
	int r = take(blob, &saved, sizeof(saved));

	if (r == 0 && saved.user_handle)
		r = kfd_event_page(p, saved.user_handle);
	if (r)
		return r;
	if (saved.type > KFD_IOC_EVENT_MEMORY || saved.event_id > INT_MAX - 1)
		return -EINVAL;
	ev = kfd_event_new(p, saved.type, saved.event_id);
	if (IS_ERR(ev))
		return PTR_ERR(ev);
	ev->auto_reset = saved.auto_reset;
	ev->signaled = saved.signaled;
	if (ev->type == KFD_IOC_EVENT_MEMORY)
		ev->memory = saved.memory;
	else if (ev->type == KFD_IOC_EVENT_HW_EXCEPTION)
		ev->hw = saved.hw;
	return 0;
}

/* Only remembered: the memory is not there yet. Room for the attribute that RESUME adds. */
static int restore_svm(struct kfd_proc *p, struct reader *blob)
{
	u32 n = 4 + p->n_pdds;
	struct kfd_svm_saved *saved = kzalloc(struct_size(saved, blob.attrs, n + 1), GFP_KERNEL);
	int r;

	if (!saved)
		return -ENOMEM;
	r = take(blob, &saved->blob, struct_size(&saved->blob, attrs, n));
	if (r) {
		kfree(saved);
		return r;
	}
	saved->n = n;
	list_add_tail(&saved->in, &p->svm_restored);
	return 0;
}

static int restore_objects(struct kfd_proc *p, struct kfd_ioctl_criu_args *args,
			   struct reader *blob)
{
	u32 i, type;
	int r = 0;

	for (i = 0; i < args->num_objects && r == 0; i++) {
		if (blob->size - blob->at < sizeof(type))
			return -EINVAL;
		memcpy(&type, blob->blob + blob->at, sizeof(type));
		if (type == KFD_OBJECT_QUEUE)
			r = restore_queue(p, blob);
		else if (type == KFD_OBJECT_EVENT)
			r = restore_event(p, blob);
		else if (type == KFD_OBJECT_SVM)
			r = restore_svm(p, blob);
		else
			r = -EINVAL;
	}
	return r;
}

static int restore_all(struct kfd_proc *p, struct kfd_ioctl_criu_args *args, struct reader *blob,
		       struct kfd_criu_bo_bucket *buckets, struct file **files)
{
	int r;

	p->evicted = true;
	r = restore_process(p, blob);
	if (r == 0)
		r = restore_devices(p, args, blob);
	if (r == 0)
		r = restore_bos(p, args, blob, buckets, files);
	if (r == 0)
		r = restore_objects(p, args, blob);
	if (r == 0 && blob->at != blob->size)
		r = -EINVAL;
	if (r == 0 &&
	    copy_to_user(u64_to_user_ptr(args->bos), buckets, args->num_bos * sizeof(*buckets)))
		r = -EFAULT;
	return r;
}

/* Give the caller its dma-bufs (r 0), or none of them. */
static void end_files(u32 n, struct kfd_criu_bo_bucket *buckets, struct file **files, int r)
{
	u32 i;

	for (i = 0; i < n; i++) {
		if (files[i] && r == 0) {
			fd_install(buckets[i].dmabuf_fd, files[i]);
			continue;
		}
		if (files[i] && buckets[i].dmabuf_fd != KFD_INVALID_FD)
			put_unused_fd(buckets[i].dmabuf_fd);
		if (files[i])
			fput(files[i]);
	}
}

/* RESTORE, with p->lock held. */
KFD_HANDLER(kfd_criu_restore)
{
	struct kfd_ioctl_criu_args *args = data;
	struct kfd_criu_bo_bucket *buckets;
	struct reader blob = { .size = args->priv_data_size };
	struct file **files;
	int r = -ENOMEM;

	if (!args->devices || !args->priv_data || !args->priv_data_size || !args->num_devices ||
	    args->priv_data_size > 1 << 30 || args->num_bos > 1 << 22)
		return -EINVAL;
	if (args->num_bos ? !args->bos : softgpu.level < 618)
		return -EINVAL;		/* without any buffer: since 6.18 */
	blob.blob = vmemdup_user(u64_to_user_ptr(args->priv_data), args->priv_data_size);
	if (IS_ERR(blob.blob))
		return PTR_ERR(blob.blob);
	buckets = kvcalloc(max(args->num_bos, 1U), sizeof(*buckets), GFP_KERNEL);
	files = kvcalloc(max(args->num_bos, 1U), sizeof(*files), GFP_KERNEL);
	if (buckets && files) {
		if (copy_from_user(buckets, u64_to_user_ptr(args->bos),
				   args->num_bos * sizeof(*buckets)))
			r = -EFAULT;
		else
			r = restore_all(p, args, &blob, buckets, files);
		end_files(args->num_bos, buckets, files, r);
	}
	kvfree(blob.blob);
	kvfree(buckets);
	kvfree(files);
	return r;
}
