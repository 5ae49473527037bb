// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_misc.c - what is asked of /dev/kfd that changes nothing a checkpoint holds but the XNACK
 * mode.
 */
#include "softgpu.h"

#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#define CLOCK_FREQ 1000000000ULL

KFD_HANDLER(kfd_apertures)
{
	struct kfd_ioctl_get_process_apertures_new_args *args = data;
	struct kfd_process_device_apertures a = {
		.lds_base = 1ULL << 48,
		.lds_limit = (1ULL << 48) + 0xffffffff,
		.scratch_base = 2ULL << 48,
		.scratch_limit = (2ULL << 48) + 0xffffffff,
		.gpuvm_base = SOFTGPU_VA_BOTTOM,
		.gpuvm_limit =
			SOFTGPU_VA_HOLE - 1, /* reaches 2^47: CPU and GPU addresses are the same */
	};
	u32 i, room = args->num_of_nodes;

	args->num_of_nodes = p->n_pdds;
	if (!room)
		return 0;
	for (i = 0; i < min(room, p->n_pdds); i++) {
		a.gpu_id = p->pdds[i].user_gpu_id;
		if (copy_to_user(
			    u64_to_user_ptr(args->kfd_process_device_apertures_ptr + i * sizeof(a)),
			    &a, sizeof(a)))
			return -EFAULT;
	}
	args->num_of_nodes = i;
	return 0;
}

KFD_HANDLER(kfd_clocks)
{
	struct kfd_ioctl_get_clock_counters_args *args = data;

	args->gpu_clock_counter = kfd_pdd_of(p, args->gpu_id) ? ktime_get_ns() / 40 : 0;
	args->cpu_clock_counter = ktime_get_raw_ns();
	args->system_clock_counter = ktime_get_boottime_ns();
	args->system_clock_freq = CLOCK_FREQ;
	return 0;
}

/* Settings that have no effect here: whether they name a GPU is all that is looked at. */
KFD_HANDLER(kfd_memory_policy)
{
	struct kfd_ioctl_set_memory_policy_args *args = data;

	if (args->default_policy > KFD_IOC_CACHE_POLICY_NONCOHERENT ||
	    args->alternate_policy > KFD_IOC_CACHE_POLICY_NONCOHERENT)
		return -EINVAL;
	return kfd_pdd_of(p, args->gpu_id) ? 0 : -EINVAL;
}

KFD_HANDLER(kfd_scratch)
{
	struct kfd_ioctl_set_scratch_backing_va_args *args = data;

	return kfd_pdd_of(p, args->gpu_id) ? 0 : -EINVAL;
}

KFD_HANDLER(kfd_trap_handler)
{
	struct kfd_ioctl_set_trap_handler_args *args = data;

	return kfd_pdd_of(p, args->gpu_id) ? 0 : -EINVAL;
}

KFD_HANDLER(kfd_tile_config)
{
	struct kfd_ioctl_get_tile_config_args *args = data;

	args->num_tile_configs = 0;
	args->num_macro_tile_configs = 0;
	return kfd_pdd_of(p, args->gpu_id) ? 0 : -EINVAL;
}

KFD_HANDLER(kfd_available)
{
	struct kfd_ioctl_get_available_memory_args *args = data;
	struct kfd_pdd *pdd = kfd_pdd_of(p, args->gpu_id);

	if (!pdd)
		return -EINVAL;
	args->available = pdd->dev->vram_size - atomic64_read(&pdd->dev->vram_used);
	return 0;
}

KFD_HANDLER(kfd_xnack)
{
	struct kfd_ioctl_set_xnack_mode_args *args = data;

	if (args->xnack_enabled >= 0) {
		if (!idr_is_empty(&p->queues))
			return -EBUSY;
		p->xnack = args->xnack_enabled;
	}
	args->xnack_enabled = p->xnack;
	return 0;
}
