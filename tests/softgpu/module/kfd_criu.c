// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_criu.c - the CRIU ioctl of /dev/kfd, dump side: PROCESS_INFO, CHECKPOINT, UNPAUSE; and
 * RESUME.
 *
 * Layout of the blob (version 1, sizes of Linux 6.12): process, devices, buffers, then objects:
 * queues with their MQD and control stack, events, SVM ranges. Dma-buf descriptors appear in the
 * caller, all of them or none.
 */
#include "softgpu.h"

#include <linux/file.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <drm/drm_prime.h>

struct counts {
	u32 bos, objects;
	u64 bytes;
};

/* Below the aperture are the driver's own buffers, which are not saved. */
static bool is_saved(const struct kfd_mem *mem)
{
	return !mem->va || mem->va > SOFTGPU_VA_BOTTOM;
}

static u64 svm_bytes(struct kfd_proc *p)
{
	return sizeof(struct kfd_blob_svm) +
	       (4 + p->n_pdds) * sizeof(struct kfd_ioctl_svm_attribute);
}

static struct counts count(struct kfd_proc *p)
{
	struct counts c = { .bytes = sizeof(struct kfd_blob_process) };
	struct kfd_svm_range *range;
	struct kfd_event *ev;
	struct kfd_queue *q;
	struct kfd_mem *mem;
	int i, id;

	for (i = 0; i < p->n_pdds; i++)
		idr_for_each_entry(&p->pdds[i].bos, mem, id)
			c.bos += is_saved(mem);
	c.bytes += p->n_pdds * sizeof(struct kfd_blob_device) +
		   (u64)c.bos * sizeof(struct kfd_blob_bo);
	idr_for_each_entry(&p->queues, q, id) {
		c.objects++;
		c.bytes += sizeof(struct kfd_blob_queue) + q->mqd_size + q->ctl_size;
	}
	idr_for_each_entry(&p->events, ev, id) {
		c.objects++;
		c.bytes += sizeof(struct kfd_blob_event);
	}
	list_for_each_entry(range, &p->svm, in) {
		c.objects++;
		c.bytes += svm_bytes(p);
	}
	return c;
}

static int process_info(struct kfd_proc *p, struct kfd_ioctl_criu_args *args)
{
	struct counts c;

	kfd_svm_prune(p, p->mn.mm);
	c = count(p);
	if (!p->paused)
		atomic64_inc(&softgpu_count.pauses);
	p->paused = true;
	args->pid = task_pid_nr_ns(p->lead, task_active_pid_ns(p->lead));
	args->num_devices = p->n_pdds;
	args->num_bos = c.bos;
	args->num_objects = c.objects;
	args->priv_data_size = c.bytes;
	return 0;
}

/* What is written to the caller's blob, in order. */
struct writer {
	u8 __user *to;
	u64 at;
};

static int put(struct writer *w, const void *data, size_t size)
{
	if (copy_to_user(w->to + w->at, data, size))
		return -EFAULT;
	w->at += size;
	return 0;
}

static int put_devices(struct kfd_proc *p, struct kfd_ioctl_criu_args *args, struct writer *w)
{
	struct kfd_criu_device_bucket __user *to = u64_to_user_ptr(args->devices);
	struct kfd_blob_device none = {};
	int i, r = 0;

	for (i = 0; i < p->n_pdds && r == 0; i++) {
		struct kfd_criu_device_bucket bucket = {
			.user_gpu_id = p->pdds[i].user_gpu_id,
			.actual_gpu_id = p->pdds[i].dev->gpu_id,
		};

		if (copy_to_user(&to[i], &bucket, sizeof(bucket)))
			return -EFAULT;
		r = put(w, &none, sizeof(none));
	}
	return r;
}

/* One buffer: its bucket, its part of the blob, its dma-buf, if it has contents. */
static int put_bo(struct kfd_mem *mem, int id, struct kfd_criu_bo_bucket __user *to,
		  struct writer *w, struct file **file)
{
	struct kfd_proc *p = mem->pdd->proc;
	struct kfd_criu_bo_bucket bucket = {
		.addr = mem->va,
		.size = mem->size,
		.offset = mem->offset,
		.gpu_id = mem->pdd->user_gpu_id,
		.alloc_flags = mem->flags,
		.dmabuf_fd = KFD_INVALID_FD,
	};
	struct kfd_blob_bo blob = { .idr_handle = id };
	u32 i, n = 0;
	int r;

	for_each_set_bit(i, mem->mapped, p->n_pdds)
		blob.mapped_gpuids[n++] = p->pdds[i].user_gpu_id;
	if (mem->flags & KFD_IOC_ALLOC_MEM_FLAGS_USERPTR)
		blob.user_addr = mem->bo->user_addr;
	r = kfd_mem_reserve(mem, &bucket.dmabuf_fd, file);
	if (r)
		return r;
	if (copy_to_user(to, &bucket, sizeof(bucket))) {
		r = -EFAULT;
	} else {
		r = put(w, &blob, sizeof(blob));
	}
	if (r && bucket.dmabuf_fd != KFD_INVALID_FD)
		put_unused_fd(bucket.dmabuf_fd);
	return r;
}

/* Install the descriptors that buckets speak of (r 0), or take all of them back. */
static void end_files(struct file **files, u32 n, struct kfd_criu_bo_bucket __user *buckets, int r)
{
	u32 i, fd;

	for (i = 0; i < n; i++) {
		if (!files[i])
			continue;
		if (get_user(fd, &buckets[i].dmabuf_fd))
			fd = KFD_INVALID_FD;
		if (r == 0 && fd != KFD_INVALID_FD) {
			fd_install(fd, files[i]);
			continue;
		}
		if (fd != KFD_INVALID_FD)
			put_unused_fd(fd);
		fput(files[i]);
	}
}

static int put_queues(struct kfd_proc *p, struct writer *w)
{
	struct kfd_queue *q;
	int id, r = 0;

	idr_for_each_entry(&p->queues, q, id) {
		const struct kfd_ioctl_create_queue_args *a = &q->args;
		struct kfd_blob_queue blob = {
			.object_type = KFD_OBJECT_QUEUE,
			.q_address = a->ring_base_address, .q_size = a->ring_size,
			.read_ptr = a->read_pointer_address, .write_ptr = a->write_pointer_address,
			.doorbell_off = q->doorbell_id, .eop_address = a->eop_buffer_address,
			.ctx_address = a->ctx_save_restore_address, .gpu_id = q->pdd->user_gpu_id,
			.type = a->queue_type == KFD_IOC_QUEUE_TYPE_COMPUTE_AQL ? 0 : a->queue_type,
			.format = a->queue_type == KFD_IOC_QUEUE_TYPE_COMPUTE_AQL, .q_id = id,
			.priority = a->queue_priority, .percent = a->queue_percentage,
			.doorbell_id = q->doorbell_id, .gws = q->gws, .sdma_id = q->sdma_id,
			.eop_size = a->eop_buffer_size, .ctx_size = a->ctx_save_restore_size,
			.ctl_size = q->ctl_size, .mqd_size = q->mqd_size,
		};

		r = put(w, &blob, sizeof(blob));
		if (r == 0)
			r = put(w, q->bytes, q->mqd_size + q->ctl_size);
		if (r)
			break;
	}
	return r;
}

static int put_events(struct kfd_proc *p, struct writer *w)
{
	struct kfd_event *ev;
	bool first = true;
	int id, r = 0;

	idr_for_each_entry(&p->events, ev, id) {
		struct kfd_blob_event blob = {
			.object_type = KFD_OBJECT_EVENT,
			.event_id = ev->id,
			.auto_reset = ev->auto_reset,
			.type = ev->type,
			.signaled = ev->signaled,
		};

		if (first && p->event_bo)
			blob.user_handle = p->event_handle;
		first = false;
		if (ev->type == KFD_IOC_EVENT_MEMORY)
			blob.memory = ev->memory;
		else if (ev->type == KFD_IOC_EVENT_HW_EXCEPTION)
			blob.hw = ev->hw;
		r = put(w, &blob, sizeof(blob));
		if (r)
			break;
	}
	return r;
}

static int put_svm(struct kfd_proc *p, struct writer *w)
{
	static const u32 common[4] = {KFD_IOCTL_SVM_ATTR_PREFERRED_LOC,
				      KFD_IOCTL_SVM_ATTR_PREFETCH_LOC, KFD_IOCTL_SVM_ATTR_SET_FLAGS,
				      KFD_IOCTL_SVM_ATTR_GRANULARITY};
	struct kfd_blob_svm *blob = kzalloc(svm_bytes(p), GFP_KERNEL);
	struct kfd_svm_range *range;
	int i, r = 0;

	if (!blob)
		return -ENOMEM;
	list_for_each_entry(range, &p->svm, in) {
		blob->object_type = KFD_OBJECT_SVM;
		blob->start = range->start;
		blob->npages = range->last - range->start + 1;
		for (i = 0; i < 4; i++)
			blob->attrs[i].type = common[i];
		for (i = 0; i < p->n_pdds; i++)
			blob->attrs[4 + i] = (struct kfd_ioctl_svm_attribute){
				KFD_IOCTL_SVM_ATTR_ACCESS, p->pdds[i].user_gpu_id};
		kfd_svm_get(p, range->start, range->last, blob->attrs, 4 + p->n_pdds);
		r = put(w, blob, svm_bytes(p));
		if (r)
			break;
	}
	kfree(blob);
	return r;
}

static int put_bos(struct kfd_proc *p, struct kfd_ioctl_criu_args *args, struct writer *w,
		   struct file **files, u32 *n)
{
	struct kfd_criu_bo_bucket __user *buckets = u64_to_user_ptr(args->bos);
	struct kfd_mem *mem;
	int i, id, r = 0;

	for (i = 0; i < p->n_pdds; i++)
		idr_for_each_entry(&p->pdds[i].bos, mem, id) {
			if (!is_saved(mem))
				continue;
			r = put_bo(mem, id, &buckets[*n], w, &files[*n]);
			if (r)
				return r;
			(*n)++;
		}
	return 0;
}

static int checkpoint(struct kfd_proc *p, struct kfd_ioctl_criu_args *args)
{
	struct kfd_blob_process head = { KFD_CRIU_VERSION, p->xnack };
	struct writer w = { u64_to_user_ptr(args->priv_data), 0 }, bos;
	struct counts c = count(p);
	struct file **files;
	u32 n = 0;
	int r;

	if (!args->devices || !args->bos || !args->priv_data || !p->paused)
		return -EINVAL;
	if (args->num_devices != p->n_pdds || args->num_bos != c.bos ||
	    args->num_objects != c.objects || args->priv_data_size != c.bytes)
		return -EINVAL;
	files = kvcalloc(max(c.bos, 1U), sizeof(*files), GFP_KERNEL);
	if (!files)
		return -ENOMEM;
	r = put(&w, &head, sizeof(head));
	if (r == 0)
		r = put_devices(p, args, &w);
	bos = w;
	w.at += (u64)c.bos * sizeof(struct kfd_blob_bo);
	if (r == 0)
		r = put_queues(p, &w);
	if (r == 0)
		r = put_events(p, &w);
	if (r == 0)
		r = put_svm(p, &w);
	if (r == 0)
		r = put_bos(p, args, &bos, files, &n);
	end_files(files, n, u64_to_user_ptr(args->bos), r);
	kvfree(files);
	return r;
}

static int unpause(struct kfd_proc *p)
{
	if (!p->paused)
		return -EINVAL;
	p->paused = false;
	atomic64_inc(&softgpu_count.unpauses);
	return 0;
}

/* Set the attributes that RESTORE remembered, on the memory as it is now. */
static int resume_svm(struct kfd_proc *target, struct mm_struct *mm)
{
	struct kfd_svm_saved *saved, *next;
	u32 i, n;
	int r = 0;

	list_for_each_entry_safe(saved, next, &target->svm_restored, in) {
		struct kfd_ioctl_svm_attribute *attrs = saved->blob.attrs;

		for (i = 0, n = saved->n; i < saved->n; i++)
			if (attrs[i].type == KFD_IOCTL_SVM_ATTR_SET_FLAGS)
				attrs[n++] = (struct kfd_ioctl_svm_attribute){
					KFD_IOCTL_SVM_ATTR_CLR_FLAGS, ~attrs[i].value & 0xff};
		r = kfd_svm_set(target, mm, saved->blob.start, saved->blob.npages, attrs, n);
		if (r)
			break;
		list_del(&saved->in);
		kfree(saved);
	}
	return r;
}

static int resume(struct kfd_ioctl_criu_args *args)
{
	struct pid *pid = find_get_pid(args->pid);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);
	struct mm_struct *mm = task ? get_task_mm(task) : NULL;
	struct kfd_proc *target = mm ? kfd_proc_of(mm) : NULL;
	int r = -ESRCH;

	put_pid(pid);
	if (task)
		put_task_struct(task);
	if (target) {
		mutex_lock(&target->lock);
		r = resume_svm(target, mm);
		if (r == 0 && !target->blocked)
			r = -EINVAL;
		if (r == 0) {
			target->blocked = false;
			target->evicted = false;
			atomic64_inc(&softgpu_count.resumes);
		}
		mutex_unlock(&target->lock);
		kfd_proc_put(target);
	}
	if (mm)
		mmput(mm);
	return r;
}

KFD_HANDLER(kfd_criu)
{
	struct kfd_ioctl_criu_args *args = data;
	long r;

	if (args->op == KFD_CRIU_OP_RESUME)
		return resume(args);
	mutex_lock(&p->lock);
	switch (args->op) {
	case KFD_CRIU_OP_PROCESS_INFO:
		r = process_info(p, args);
		break;
	case KFD_CRIU_OP_CHECKPOINT:
		r = checkpoint(p, args);
		break;
	case KFD_CRIU_OP_UNPAUSE:
		r = unpause(p);
		break;
	case KFD_CRIU_OP_RESTORE:
		r = kfd_criu_restore(p, args);
		break;
	default:
		r = -EINVAL;
	}
	mutex_unlock(&p->lock);
	return r;
}
