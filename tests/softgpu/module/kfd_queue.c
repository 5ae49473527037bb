// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_queue.c - user queues as records: nothing is consumed from their rings.
 *
 * Each has an MQD and a control stack of the sizes of gfx9, filled with random bytes when the
 * queue is made, so that only a restore which brings the checkpointed bytes back gives the same
 * blob again.
 */
#include "softgpu.h"

#include <linux/log2.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define MAX_QUEUES 1024
#define MQD_COMPUTE 2048
#define MQD_SDMA 512
#define SDMA_DOORBELL 0x100		/* SOC15: where the doorbells of SDMA queues begin */
#define SDMA_QUEUES 16

static bool is_sdma(u32 type)
{
	return type == KFD_IOC_QUEUE_TYPE_SDMA || type == KFD_IOC_QUEUE_TYPE_SDMA_XGMI;
}

u32 kfd_queue_mqd_size(u32 type)
{
	return is_sdma(type) ? MQD_SDMA : MQD_COMPUTE;
}

static bool user_ok(u64 address, u64 size)
{
	return access_ok(u64_to_user_ptr(address), size);
}

/* What the driver refuses before it looks at the GPU. */
static int check(const struct kfd_ioctl_create_queue_args *a)
{
	if ((a->queue_percentage & 0xff) > KFD_MAX_QUEUE_PERCENTAGE ||
	    a->queue_priority > KFD_MAX_QUEUE_PRIORITY)
		return -EINVAL;
	if (a->queue_type > KFD_IOC_QUEUE_TYPE_SDMA_XGMI)
		return -EINVAL;
	if (a->ring_size && (!a->ring_base_address || !is_power_of_2(a->ring_size)))
		return -EINVAL;
	if (!user_ok(a->ring_base_address, a->ring_size) || !user_ok(a->read_pointer_address, 4) ||
	    !user_ok(a->write_pointer_address, 4) ||
	    !user_ok(a->eop_buffer_address, a->eop_buffer_size) ||
	    !user_ok(a->ctx_save_restore_address, a->ctx_save_restore_size))
		return -EFAULT;
	return a->ctl_stack_size > 1 << 20 ? -EINVAL : 0;
}

static u64 doorbell_offset(const struct kfd_queue *q)
{
	return kfd_offset(q->pdd, KFD_IOC_ALLOC_MEM_FLAGS_DOORBELL) | (u64)q->doorbell_id * 8;
}

/*
 * Give a queue its doorbell and, for SDMA, its engine queue: the next free ones, or those asked
 * for (>= 0).
 */
int kfd_queue_place(struct kfd_queue *q, u32 doorbell_id, u32 sdma_id)
{
	struct kfd_pdd *pdd = q->pdd;

	if (is_sdma(q->args.queue_type)) {
		if (sdma_id == U32_MAX) {
			for (sdma_id = 0; sdma_id < SDMA_QUEUES; sdma_id++)
				if (!test_bit(SDMA_DOORBELL + sdma_id, pdd->doorbell_ids))
					break;
		}
		if (sdma_id >= SDMA_QUEUES)
			return -ENOMEM;
		q->sdma_id = sdma_id;
		doorbell_id = SDMA_DOORBELL + sdma_id;
	} else if (doorbell_id == U32_MAX) {
		doorbell_id = find_first_zero_bit(pdd->doorbell_ids, SDMA_DOORBELL);
	}
	if (doorbell_id >= SDMA_DOORBELL + SDMA_QUEUES)
		return -EBUSY;
	if (test_and_set_bit(doorbell_id, pdd->doorbell_ids))
		return -EBUSY;
	q->doorbell_id = doorbell_id;
	return 0;
}

/* A new queue record, without doorbell; want is its number, or -1 for any. */
struct kfd_queue *kfd_queue_new(struct kfd_pdd *pdd, const struct kfd_ioctl_create_queue_args *args,
				u32 mqd_size, u32 ctl_size, int want)
{
	struct kfd_queue *q = kzalloc(sizeof(*q), GFP_KERNEL);
	int id = -ENOMEM;

	if (!q)
		return ERR_PTR(-ENOMEM);
	*q = (struct kfd_queue){ .args = *args, .pdd = pdd, .mqd_size = mqd_size,
				 .ctl_size = ctl_size, .doorbell_id = U32_MAX };
	q->bytes = kvmalloc(mqd_size + ctl_size, GFP_KERNEL);
	if (q->bytes)
		id = want < 0 ? idr_alloc(&pdd->proc->queues, q, 0, MAX_QUEUES, GFP_KERNEL)
			      : idr_alloc(&pdd->proc->queues, q, want, want + 1, GFP_KERNEL);
	if (id < 0) {
		kvfree(q->bytes);
		kfree(q);
		return ERR_PTR(id);
	}
	q->args.queue_id = id;
	atomic64_inc(&softgpu_count.queues);
	return q;
}

void kfd_queue_drop(struct kfd_proc *p, struct kfd_queue *q)
{
	if (q->doorbell_id != U32_MAX)
		clear_bit(q->doorbell_id, q->pdd->doorbell_ids);
	idr_remove(&p->queues, q->args.queue_id);
	kvfree(q->bytes);
	kfree(q);
	atomic64_dec(&softgpu_count.queues);
}

void kfd_queue_drop_all(struct kfd_proc *p)
{
	struct kfd_queue *q;
	int id;

	idr_for_each_entry(&p->queues, q, id)
		kfd_queue_drop(p, q);
	idr_destroy(&p->queues);
}

KFD_HANDLER(kfd_queue_create)
{
	struct kfd_ioctl_create_queue_args *args = data;
	struct kfd_pdd *pdd = kfd_pdd_of(p, args->gpu_id);
	u32 ctl = is_sdma(args->queue_type) ? 0 : args->ctl_stack_size;
	struct kfd_queue *q;
	int r = check(args);

	if (r)
		return r;
	if (!pdd || !pdd->file)
		return -EINVAL;
	if (args->ring_size &&
	    !softgpu_va_covered(pdd->vm, args->ring_base_address, args->ring_size))
		return -EINVAL;
	if (!softgpu_va_covered(pdd->vm, args->read_pointer_address, 8) ||
	    !softgpu_va_covered(pdd->vm, args->write_pointer_address, 8))
		return -EINVAL;
	q = kfd_queue_new(pdd, args, kfd_queue_mqd_size(args->queue_type), ctl, -1);
	if (IS_ERR(q))
		return PTR_ERR(q);
	get_random_bytes(q->bytes, q->mqd_size + q->ctl_size);
	r = kfd_queue_place(q, U32_MAX, U32_MAX);
	if (r) {
		kfd_queue_drop(p, q);
		return r;
	}
	args->queue_id = q->args.queue_id;
	args->doorbell_offset = doorbell_offset(q);
	return 0;
}

KFD_HANDLER(kfd_queue_destroy)
{
	struct kfd_ioctl_destroy_queue_args *args = data;
	struct kfd_queue *q = idr_find(&p->queues, args->queue_id);

	if (!q)
		return -EINVAL;
	kfd_queue_drop(p, q);
	return 0;
}

KFD_HANDLER(kfd_queue_update)
{
	struct kfd_ioctl_update_queue_args *args = data;
	struct kfd_queue *q = idr_find(&p->queues, args->queue_id);
	struct kfd_ioctl_create_queue_args changed;
	int r;

	if (!q)
		return -EINVAL;
	changed = q->args;
	changed.ring_base_address = args->ring_base_address;
	changed.ring_size = args->ring_size;
	changed.queue_percentage = args->queue_percentage;
	changed.queue_priority = args->queue_priority;
	r = check(&changed);
	if (r == 0)
		q->args = changed;
	return r;
}

KFD_HANDLER(kfd_queue_cu_mask)
{
	struct kfd_ioctl_set_cu_mask_args *args = data;

	if (!args->num_cu_mask || args->num_cu_mask % 32)
		return -EINVAL;
	return idr_find(&p->queues, args->queue_id) ? 0 : -EINVAL;
}

/* No wave ever runs: nothing of the save area is in use. */
KFD_HANDLER(kfd_queue_waves)
{
	struct kfd_ioctl_get_queue_wave_state_args *args = data;
	struct kfd_queue *q = idr_find(&p->queues, args->queue_id);

	if (!q || is_sdma(q->args.queue_type) || q->args.queue_percentage)
		return -EINVAL;		/* only of a compute queue that is stopped */
	args->ctl_stack_used_size = 0;
	args->save_area_used_size = 0;
	return 0;
}

KFD_HANDLER(kfd_queue_gws)
{
	struct kfd_ioctl_alloc_queue_gws_args *args = data;
	struct kfd_queue *q = idr_find(&p->queues, args->queue_id);

	if (!q || is_sdma(q->args.queue_type))
		return -EINVAL;
	if (args->num_gws && q->gws)
		return -EINVAL;
	q->gws = args->num_gws;
	args->first_gws = 0;
	return 0;
}
