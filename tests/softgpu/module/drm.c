// SPDX-License-Identifier: GPL-2.0
/*
 * drm.c - the render nodes: devices, opens, the table of ioctls, fdinfo.
 *
 * A platform device is the parent, so that /sys/dev/char/226:N/device/drm exists, by which libdrm
 * knows a node. DRIVER_MODESET and dumb_create are there for one reason: only then may a client
 * in the kernel open the device and hold handles of KFD's buffers, which makes them exportable
 * without being in any user's table.
 */
#include "softgpu.h"

#include <linux/device_cgroup.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <drm/drm_drv.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_mode_config.h>

struct softgpu_dev *softgpu_devs[SOFTGPU_MAX];

static int open_file(struct drm_device *ddev, struct drm_file *filp)
{
	static atomic_t next_pasid = ATOMIC_INIT(0x8000);
	struct softgpu_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return -ENOMEM;
	file->dev = to_dev(ddev);
	mutex_init(&file->lock);
	file->mappings = RB_ROOT;
	idr_init(&file->contexts);
	idr_init(&file->lists);
	init_waitqueue_head(&file->ended);
	file->pasid = atomic_inc_return(&next_pasid);
	filp->driver_priv = file;
	atomic64_inc(&softgpu_count.drm_files);
	return 0;
}

static void close_file(struct drm_device *ddev, struct drm_file *filp)
{
	struct softgpu_file *file = filp->driver_priv;

	softgpu_cs_flush(file);
	softgpu_va_drop_all(file);
	softgpu_cs_release(file);
	idr_destroy(&file->contexts);
	idr_destroy(&file->lists);
	kfree(file);
	atomic64_dec(&softgpu_count.drm_files);
}

static void show_fdinfo(struct drm_printer *p, struct drm_file *filp)
{
	struct softgpu_file *file = filp->driver_priv;
	u64 vram = 0, gtt = 0;
	struct drm_gem_object *obj;
	int id;

	spin_lock(&filp->table_lock);
	idr_for_each_entry(&filp->object_idr, obj, id) {
		if (to_bo(obj)->domains & AMDGPU_GEM_DOMAIN_VRAM)
			vram += obj->size;
		else
			gtt += obj->size;
	}
	spin_unlock(&filp->table_lock);
	drm_printf(p, "pasid:\t%u\n", file->pasid);
	drm_printf(p, "drm-memory-vram:\t%llu KiB\n", vram >> 10);
	drm_printf(p, "drm-memory-gtt: \t%llu KiB\n", gtt >> 10);
	drm_printf(p, "drm-memory-cpu: \t0 KiB\n");
}

#define ENTRY(command, label, structure, function) \
	[command] = { \
		.cmd = DRM_IOWR(DRM_COMMAND_BASE + (command), structure), \
		.func = (function), \
		.flags = DRM_AUTH | DRM_RENDER_ALLOW, \
		.name = label, \
	}

static const struct drm_ioctl_desc ioctls[] = {
	ENTRY(DRM_AMDGPU_GEM_CREATE, "GEM_CREATE", union drm_amdgpu_gem_create,
	      softgpu_ioctl_gem_create),
	ENTRY(DRM_AMDGPU_GEM_MMAP, "GEM_MMAP", union drm_amdgpu_gem_mmap, softgpu_ioctl_gem_mmap),
	ENTRY(DRM_AMDGPU_CTX, "CTX", union drm_amdgpu_ctx, softgpu_ioctl_ctx),
	ENTRY(DRM_AMDGPU_BO_LIST, "BO_LIST", union drm_amdgpu_bo_list, softgpu_ioctl_bo_list),
	ENTRY(DRM_AMDGPU_CS, "CS", union drm_amdgpu_cs, softgpu_ioctl_cs),
	ENTRY(DRM_AMDGPU_INFO, "INFO", struct drm_amdgpu_info, softgpu_ioctl_info),
	ENTRY(DRM_AMDGPU_GEM_METADATA, "GEM_METADATA", struct drm_amdgpu_gem_metadata,
	      softgpu_ioctl_gem_metadata),
	ENTRY(DRM_AMDGPU_GEM_WAIT_IDLE, "GEM_WAIT_IDLE", union drm_amdgpu_gem_wait_idle,
	      softgpu_ioctl_gem_wait_idle),
	ENTRY(DRM_AMDGPU_GEM_VA, "GEM_VA", struct drm_amdgpu_gem_va, softgpu_ioctl_gem_va),
	ENTRY(DRM_AMDGPU_WAIT_CS, "WAIT_CS", union drm_amdgpu_wait_cs, softgpu_ioctl_wait_cs),
	ENTRY(DRM_AMDGPU_GEM_OP, "GEM_OP", struct softgpu_gem_op, softgpu_ioctl_gem_op),
	ENTRY(DRM_AMDGPU_GEM_USERPTR, "GEM_USERPTR", struct drm_amdgpu_gem_userptr,
	      softgpu_ioctl_gem_userptr),
	ENTRY(DRM_AMDGPU_WAIT_FENCES, "WAIT_FENCES", union drm_amdgpu_wait_fences,
	      softgpu_ioctl_wait_fences),
	ENTRY(SOFTGPU_GEM_LIST_HANDLES, "GEM_LIST_HANDLES", struct softgpu_list_handles,
	      softgpu_ioctl_gem_list),
};

static long drm_entry(struct file *filp, unsigned int cmd, unsigned long arg)
{
	int r = softgpu_fault(FAULT_DRM, _IOC_NR(cmd), -1);

	return r ? r : drm_ioctl(filp, cmd, arg);
}

const struct file_operations softgpu_drm_fops = {
	.owner = THIS_MODULE,
	.open = drm_open,
	.release = drm_release,
	.unlocked_ioctl = drm_entry,
	.compat_ioctl = drm_compat_ioctl,
	.poll = drm_poll,
	.read = drm_read,
	.llseek = noop_llseek,
	.mmap = drm_gem_mmap,
	.show_fdinfo = drm_show_fdinfo,
	.fop_flags = FOP_UNSIGNED_OFFSET,	/* KFD's and GEM's offsets reach 2^63 and beyond */
};

static const struct drm_driver driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER | DRIVER_MODESET | DRIVER_SYNCOBJ |
			   DRIVER_SYNCOBJ_TIMELINE,
	.name = "amdgpu",
	.desc = "AMD GPU",
	.date = "20150101",
	.major = 3,
	.minor = 61,
	.open = open_file,
	.postclose = close_file,
	.show_fdinfo = show_fdinfo,
	.fops = &softgpu_drm_fops,
	.ioctls = ioctls,
	.num_ioctls = ARRAY_SIZE(ioctls),
	.gem_create_object = softgpu_gem_create_object,
	DRM_GEM_SHMEM_DRIVER_OPS,
};

/* What occupies the minors below minor_base while the GPUs take theirs. */
static const struct drm_driver placeholder = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER,
	.name = "softgpu-placeholder",
	.desc = "occupies a minor",
	.date = "20150101",
	.fops = &softgpu_drm_fops,
};

static void gpu_remove(struct softgpu_dev *dev)
{
	struct platform_device *pdev = dev->pdev;

	drm_client_release(&dev->client);
	drm_dev_unregister(&dev->drm);
	softgpu_devs[dev->index] = NULL;
	devres_release_group(&pdev->dev, NULL);
	platform_device_unregister(pdev);
}

static void end_engine(struct drm_device *ddev, void *engine)
{
	destroy_workqueue(engine);
}

static int start_engine(struct softgpu_dev *dev)
{
	dev->engine = alloc_ordered_workqueue("softgpu-sdma%u", 0, dev->index);
	if (!dev->engine)
		return -ENOMEM;
	return drmm_add_action_or_reset(&dev->drm, end_engine, dev->engine);
}

static struct softgpu_dev *gpu_make(struct platform_device *pdev, unsigned int index)
{
	struct softgpu_dev *dev;
	int r;

	r = dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (r)
		return ERR_PTR(r);
	dev = devm_drm_dev_alloc(&pdev->dev, &driver, struct softgpu_dev, drm);
	if (IS_ERR(dev))
		return dev;
	dev->index = index;
	dev->pdev = pdev;
	softgpu_describe(dev);
	r = drmm_mode_config_init(&dev->drm);
	if (r == 0)
		r = start_engine(dev);
	if (r == 0)
		r = drm_client_init(&dev->drm, &dev->client, "kfd", NULL);
	if (r)
		return ERR_PTR(r);
	r = drm_dev_register(&dev->drm, 0);
	if (r) {
		drm_client_release(&dev->client);
		return ERR_PTR(r);
	}
	return dev;
}

static int gpu_add(unsigned int index)
{
	struct platform_device *pdev;
	struct softgpu_dev *dev;

	pdev = platform_device_register_simple("softgpu", index, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	if (!devres_open_group(&pdev->dev, NULL, GFP_KERNEL)) {
		platform_device_unregister(pdev);
		return -ENOMEM;
	}
	dev = gpu_make(pdev, index);
	if (IS_ERR(dev)) {
		devres_release_group(&pdev->dev, NULL);
		platform_device_unregister(pdev);
		return PTR_ERR(dev);
	}
	softgpu_devs[index] = dev;
	return 0;
}

/* Occupy the free minors below base. Returns how many devices stand in "held". */
static int hold_minors(struct drm_device **held, struct device *parent, unsigned int base)
{
	struct drm_device *ddev;
	unsigned int minor = 128;
	int n = 0;

	while (minor < base) {
		ddev = drm_dev_alloc(&placeholder, parent);
		if (IS_ERR(ddev))
			return n;
		minor = ddev->render->index + 1;
		if (minor > base || drm_dev_register(ddev, 0)) {
			drm_dev_put(ddev);
			return n;
		}
		held[n++] = ddev;
	}
	return n;
}

int softgpu_devices_add(unsigned int minor_base)
{
	struct drm_device *held[128];
	struct platform_device *parent;
	int n, i, r = 0;

	parent = platform_device_register_simple("softgpu-placeholder", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	n = hold_minors(held, &parent->dev, minor_base);
	for (i = 0; i < softgpu.gpus && r == 0; i++)
		r = gpu_add(i);
	while (n-- > 0) {
		drm_dev_unregister(held[n]);
		drm_dev_put(held[n]);
	}
	platform_device_unregister(parent);
	if (r)
		softgpu_devices_remove();
	return r;
}

void softgpu_devices_remove(void)
{
	int i;

	for (i = SOFTGPU_MAX - 1; i >= 0; i--)
		if (softgpu_devs[i])
			gpu_remove(softgpu_devs[i]);
}

/* Whether the caller's cgroup lets it use the GPU: others do not exist for it. */
bool softgpu_permitted(const struct softgpu_dev *dev)
{
	return devcgroup_check_permission(DEVCG_DEV_CHAR, DRM_MAJOR, dev->drm.render->index,
					  DEVCG_ACC_READ | DEVCG_ACC_WRITE) == 0;
}
