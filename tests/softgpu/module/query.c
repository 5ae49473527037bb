// SPDX-License-Identifier: GPL-2.0
/*
 * query.c - what can be asked of a buffer, of a file's handles, of the device.
 *
 * The mapping query and the list of handles are interfaces of Linux 6.18: at level 612 they are
 * EINVAL.
 */
#include "softgpu.h"

#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

static int create_info(struct softgpu_bo *bo, u64 to)
{
	struct drm_amdgpu_gem_create_in info = {
		.bo_size = bo_obj(bo)->size,
		.alignment = bo->alignment,
		.domains = bo->domains,
		.domain_flags = bo->flags,
	};

	return copy_to_user(u64_to_user_ptr(to), &info, sizeof(info)) ? -EFAULT : 0;
}

/*
 * All mappings of one buffer in this file. The number comes back in any case; the list if there is
 * room.
 */
static int mapping_info(struct softgpu_file *file, struct softgpu_bo *bo,
			struct softgpu_gem_op *args)
{
	struct softgpu_vm_entry *entries;
	struct softgpu_mapping *m;
	struct rb_node *node;
	u32 n = 0, room = min(args->num_entries, 1U << 20);
	int r = 0;

	if (args->padding)
		return -EINVAL;
	entries = kvcalloc(max(room, 1U), sizeof(*entries), GFP_KERNEL);
	if (!entries)
		return -ENOMEM;
	mutex_lock(&file->lock);
	for (node = rb_first(&file->mappings); node; node = rb_next(node)) {
		m = rb_entry(node, struct softgpu_mapping, node);
		if (m->bo != bo)
			continue;
		if (n < room)
			entries[n] = (struct softgpu_vm_entry){m->start, m->last - m->start + 1,
							       m->offset, m->flags};
		n++;
	}
	mutex_unlock(&file->lock);
	args->num_entries = n;
	if (n && n <= room &&
	    copy_to_user(u64_to_user_ptr(args->value), entries, n * sizeof(*entries)))
		r = -EFAULT;
	kvfree(entries);
	return n == 0 && softgpu.level >= 701 ? -ENOENT : r;
}

int softgpu_ioctl_gem_op(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct softgpu_gem_op *args = data;
	struct drm_gem_object *obj = drm_gem_object_lookup(filp, args->handle);
	int r = -EINVAL;

	if (!obj)
		return -ENOENT;
	if (args->op == AMDGPU_GEM_OP_GET_GEM_CREATE_INFO)
		r = create_info(to_bo(obj), args->value);
	else if (args->op == AMDGPU_GEM_OP_SET_PLACEMENT)
		r = to_bo(obj)->mm ? -EPERM : 0;	/* memory does not move here */
	else if (args->op == SOFTGPU_OP_MAPPING_INFO && softgpu.level >= 618)
		r = mapping_info(filp->driver_priv, to_bo(obj), args);
	drm_gem_object_put(obj);
	return r;
}

int softgpu_ioctl_gem_list(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct softgpu_list_handles *args = data;
	struct softgpu_list_entry *entries;
	struct drm_gem_object *obj;
	struct softgpu_bo *bo;
	u32 n = 0, room = min(args->num_entries, 1U << 20);
	int id, r = 0;

	if (softgpu.level < 618 || args->padding)
		return -EINVAL;
	entries = kvcalloc(max(room, 1U), sizeof(*entries), GFP_KERNEL);
	if (!entries)
		return -ENOMEM;
	spin_lock(&filp->table_lock);
	idr_for_each_entry(&filp->object_idr, obj, id) {
		bo = to_bo(obj);
		if (n < room)
			entries[n] = (struct softgpu_list_entry){
				.handle = id,
				.flags = obj->import_attach ? SOFTGPU_LIST_IS_IMPORT : 0,
				.size = obj->size,
				.preferred_domains = bo->domains,
				.alloc_flags = bo->flags & SOFTGPU_CREATE_FLAGS,
				.alignment = bo->alignment,
			};
		n++;
	}
	spin_unlock(&filp->table_lock);
	args->num_entries = n;
	if (n && n <= room &&
	    copy_to_user(u64_to_user_ptr(args->entries), entries, n * sizeof(*entries)))
		r = -EFAULT;
	kvfree(entries);
	return r;
}

int softgpu_ioctl_gem_metadata(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct drm_amdgpu_gem_metadata *args = data, *mine;
	struct drm_gem_object *obj = drm_gem_object_lookup(filp, args->handle);
	int r = -EINVAL;

	if (!obj)
		return -ENOENT;
	mine = &to_bo(obj)->metadata;
	mutex_lock(&obj->dev->object_name_lock);
	if (args->op == AMDGPU_GEM_METADATA_OP_GET_METADATA) {
		args->data = mine->data;
		r = 0;
	} else if (args->op == AMDGPU_GEM_METADATA_OP_SET_METADATA &&
		   args->data.data_size_bytes <= sizeof(args->data.data)) {
		mine->data = args->data;
		r = 0;
	}
	mutex_unlock(&obj->dev->object_name_lock);
	drm_gem_object_put(obj);
	return r;
}

/* Work is done before CS returns: every buffer is idle. */
int softgpu_ioctl_gem_wait_idle(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	union drm_amdgpu_gem_wait_idle *args = data;
	struct drm_gem_object *obj = drm_gem_object_lookup(filp, args->in.handle);

	if (!obj)
		return -ENOENT;
	args->out.status = 0;
	args->out.domain = to_bo(obj)->domains;
	drm_gem_object_put(obj);
	return 0;
}

static void device_info(struct softgpu_dev *dev, struct drm_amdgpu_info_device *info)
{
	*info = (struct drm_amdgpu_info_device){
		.device_id = 0x66a1,		/* Vega20, gfx906 */
		.chip_rev = 1,
		.external_rev = 0x29,
		.family = AMDGPU_FAMILY_AI,
		.num_shader_engines = 4,
		.num_shader_arrays_per_engine = 1,
		.gpu_counter_freq = 25000,
		.max_engine_clock = 1725000,
		.max_memory_clock = 1000000,
		.cu_active_number = dev->simd_count / 4,
		.virtual_address_offset = SOFTGPU_VA_BOTTOM,
		.virtual_address_max = SOFTGPU_VA_HOLE,
		.virtual_address_alignment = PAGE_SIZE,
		.pte_fragment_size = 1 << 21,
		.gart_page_size = PAGE_SIZE,
		.vram_type = 6,			/* HBM */
		.vram_bit_width = 4096,
		.wave_front_size = 64,
		.num_cu_per_sh = dev->simd_count / 16,
		.num_tcc_blocks = 16,
		.high_va_offset = SOFTGPU_VA_HIGH,
		.high_va_max = SOFTGPU_VA_HIGH + SOFTGPU_VA_HOLE - (1ULL << 32),
	};
}

static void memory_info(struct softgpu_dev *dev, struct drm_amdgpu_memory_info *info)
{
	u64 vram = dev->vram_size, used = atomic64_read(&dev->vram_used),
	    gtt = atomic64_read(&dev->gtt_used);

	info->vram = (struct drm_amdgpu_heap_info){ vram, vram, used, vram };
	info->cpu_accessible_vram = info->vram;
	info->gtt = (struct drm_amdgpu_heap_info){SOFTGPU_GTT_SIZE, SOFTGPU_GTT_SIZE, gtt,
						  SOFTGPU_GTT_SIZE};
}

static int answer(struct drm_amdgpu_info *args, const void *data, size_t size)
{
	if (!args->return_size || !args->return_pointer)
		return -EINVAL;
	size = min_t(size_t, size, args->return_size);
	return copy_to_user(u64_to_user_ptr(args->return_pointer), data, size) ? -EFAULT : 0;
}

static int answer_zeros(struct drm_amdgpu_info *args, u32 dwords)
{
	u32 zeros[128] = {};

	if (!dwords || dwords > ARRAY_SIZE(zeros))
		return -EINVAL;
	return answer(args, zeros, dwords * 4);
}

static int answer_ip(struct drm_amdgpu_info *args)
{
	struct drm_amdgpu_info_hw_ip ip = { .hw_ip_version_major = 4, .ib_start_alignment = 256,
					    .ib_size_alignment = 4, .available_rings = 3 };
	u32 type = args->query_hw_ip.type, count = type == AMDGPU_HW_IP_DMA ? 2 : 0;

	if (type >= AMDGPU_HW_IP_NUM)
		return -EINVAL;
	if (args->query == AMDGPU_INFO_HW_IP_COUNT)
		return answer(args, &count, sizeof(count));
	if (type != AMDGPU_HW_IP_DMA)
		memset(&ip, 0, sizeof(ip));
	return answer(args, &ip, sizeof(ip));
}

int softgpu_ioctl_info(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct softgpu_dev *dev = to_dev(ddev);
	struct drm_amdgpu_info *args = data;
	struct drm_amdgpu_info_device device;
	struct drm_amdgpu_memory_info memory = {};
	struct drm_amdgpu_info_vram_gtt sizes = {dev->vram_size, dev->vram_size, SOFTGPU_GTT_SIZE};
	u32 one = 1;
	u64 value;

	switch (args->query) {
	case AMDGPU_INFO_ACCEL_WORKING:
		return answer(args, &one, sizeof(one));
	case AMDGPU_INFO_DEV_INFO:
		device_info(dev, &device);
		return answer(args, &device, sizeof(device));
	case AMDGPU_INFO_READ_MMR_REG:
		return answer_zeros(args, args->read_mmr_reg.count);
	case AMDGPU_INFO_HW_IP_INFO:
	case AMDGPU_INFO_HW_IP_COUNT:
		return answer_ip(args);
	case AMDGPU_INFO_FW_VERSION:
		return answer_zeros(args, 2);
	case AMDGPU_INFO_TIMESTAMP:
		value = ktime_get_ns() / 40;	/* ticks of the 25 MHz clock */
		return answer(args, &value, sizeof(value));
	case AMDGPU_INFO_VRAM_GTT:
		return answer(args, &sizes, sizeof(sizes));
	case AMDGPU_INFO_MEMORY:
		memory_info(dev, &memory);
		return answer(args, &memory, sizeof(memory));
	case AMDGPU_INFO_VRAM_USAGE:
	case AMDGPU_INFO_VIS_VRAM_USAGE:
		value = atomic64_read(&dev->vram_used);
		return answer(args, &value, sizeof(value));
	case AMDGPU_INFO_GTT_USAGE:
		value = atomic64_read(&dev->gtt_used);
		return answer(args, &value, sizeof(value));
	case AMDGPU_INFO_NUM_EVICTIONS:
	case AMDGPU_INFO_NUM_BYTES_MOVED:
	case AMDGPU_INFO_NUM_VRAM_CPU_PAGE_FAULTS:
		return answer_zeros(args, 2);
	case AMDGPU_INFO_VRAM_LOST_COUNTER:
		return answer_zeros(args, 1);
	default:
		return -EINVAL;
	}
}
