// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_mem.c - buffers of a KFD process: allocation, mapping on GPUs, dma-bufs.
 *
 * A handle is the GPU's user id in the upper half and the number in that GPU's table in the
 * lower. Every buffer with memory also has a handle in the file of the kernel's own DRM client,
 * so that it can be exported.
 */
#include "softgpu.h"

#include <linux/dma-buf.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <drm/drm_prime.h>

#define TYPES \
	(KFD_IOC_ALLOC_MEM_FLAGS_VRAM | KFD_IOC_ALLOC_MEM_FLAGS_GTT | \
	 KFD_IOC_ALLOC_MEM_FLAGS_USERPTR | KFD_IOC_ALLOC_MEM_FLAGS_DOORBELL | \
	 KFD_IOC_ALLOC_MEM_FLAGS_MMIO_REMAP)

static u64 handle_of(struct kfd_pdd *pdd, int id)
{
	return (u64)pdd->user_gpu_id << 32 | id;
}

/* The buffer of a handle; *pdd (may be NULL) is the GPU it is on. */
struct kfd_mem *kfd_mem_find(struct kfd_proc *p, u64 handle, struct kfd_pdd **pdd)
{
	struct kfd_pdd *d = kfd_pdd_of(p, handle >> 32);

	if (pdd)
		*pdd = d;
	return d ? idr_find(&d->bos, (u32)handle) : NULL;
}

/* Whether a buffer's addresses, or those of user memory behind one, lie in a range of bytes. */
bool kfd_mem_overlaps(struct kfd_proc *p, u64 start, u64 last)
{
	struct kfd_mem *mem;
	u32 i;
	int id;

	for (i = 0; i < p->n_pdds; i++)
		idr_for_each_entry(&p->pdds[i].bos, mem, id) {
			if (mem->va <= last && mem->va + mem->size - 1 >= start)
				return true;
			if (mem->bo && mem->bo->mm && mem->bo->user_addr <= last &&
			    mem->bo->user_addr + mem->size - 1 >= start)
				return true;
		}
	return false;
}

static void unmap_all(struct kfd_proc *p, struct kfd_mem *mem)
{
	u32 i;

	for_each_set_bit(i, mem->mapped, p->n_pdds)
		if (mem->bo)
			softgpu_va_unmap(p->pdds[i].vm, mem->bo, mem->va);
	bitmap_zero(mem->mapped, SOFTGPU_MAX);
}

static void mem_free(struct kfd_mem *mem)
{
	struct kfd_pdd *pdd = mem->pdd;

	unmap_all(pdd->proc, mem);
	if (mem->bo) {
		if (mem->handle)
			drm_gem_handle_delete(pdd->dev->client.file, mem->handle);
		if (pdd->file)
			drm_vma_node_revoke(&bo_obj(mem->bo)->vma_node, pdd->file->private_data);
		drm_gem_object_put(bo_obj(mem->bo));
	}
	kfree(mem);
}

static void mem_remove(struct kfd_mem *mem, int id)
{
	idr_remove(&mem->pdd->bos, id);
	mem_free(mem);
}

void kfd_mem_drop_all(struct kfd_proc *p)
{
	struct kfd_mem *mem;
	u32 i;
	int id;

	for (i = 0; i < p->n_pdds; i++)
		idr_for_each_entry(&p->pdds[i].bos, mem, id)
			mem_remove(mem, id);
}

/* The memory behind a new buffer of the given flags. */
static struct softgpu_bo *memory(struct kfd_pdd *pdd, u64 size, u32 flags, u64 user_addr)
{
	u64 domain = flags & KFD_IOC_ALLOC_MEM_FLAGS_VRAM ? AMDGPU_GEM_DOMAIN_VRAM
							  : AMDGPU_GEM_DOMAIN_GTT;
	u64 create = 0;

	if (flags & KFD_IOC_ALLOC_MEM_FLAGS_USERPTR)
		return softgpu_bo_userptr(pdd->dev, user_addr, size, AMDGPU_GEM_USERPTR_REGISTER);
	if (flags & KFD_IOC_ALLOC_MEM_FLAGS_VRAM)
		create = AMDGPU_GEM_CREATE_VRAM_WIPE_ON_RELEASE;
	if (flags & KFD_IOC_ALLOC_MEM_FLAGS_PUBLIC)
		create |= AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED;
	if (flags & KFD_IOC_ALLOC_MEM_FLAGS_COHERENT)
		create |= AMDGPU_GEM_CREATE_COHERENT;
	if (flags & KFD_IOC_ALLOC_MEM_FLAGS_UNCACHED)
		create |= AMDGPU_GEM_CREATE_UNCACHED;
	return softgpu_bo_create(pdd->dev, size, PAGE_SIZE, domain, create);
}

/* Give mem its memory, its handle in the client's file and its place for mmap. */
static int attach(struct kfd_mem *mem, struct softgpu_bo *bo)
{
	struct kfd_pdd *pdd = mem->pdd;
	int r;

	mem->bo = bo;
	bo->kfd_flags |= mem->flags;
	r = drm_vma_node_allow(&bo_obj(bo)->vma_node, pdd->file->private_data);
	if (r)
		return r;
	if (bo->mm)
		return 0;
	r = drm_gem_handle_create(pdd->dev->client.file, bo_obj(bo), &mem->handle);
	if (r == 0)
		mem->offset = softgpu_bo_offset(bo);
	return r;
}

static struct kfd_mem *mem_make(struct kfd_pdd *pdd, u64 va, u64 size, u32 flags)
{
	struct kfd_mem *mem = kzalloc(sizeof(*mem), GFP_KERNEL);

	if (!mem)
		return ERR_PTR(-ENOMEM);
	*mem = (struct kfd_mem){ .pdd = pdd, .va = va, .size = size, .flags = flags };
	return mem;
}

static int place(struct kfd_mem *mem, int want)
{
	return want < 0 ? idr_alloc(&mem->pdd->bos, mem, 0, 0, GFP_KERNEL)
			: idr_alloc(&mem->pdd->bos, mem, want, want + 1, GFP_KERNEL);
}

/*
 * A new buffer in the process's table: anywhere (want -1), or at the number it had. *id is where.
 */
struct kfd_mem *kfd_mem_new(struct kfd_pdd *pdd, u64 va, u64 size, u32 flags, u64 user_addr,
			    int *id, int want)
{
	u32 device =
		flags & (KFD_IOC_ALLOC_MEM_FLAGS_DOORBELL | KFD_IOC_ALLOC_MEM_FLAGS_MMIO_REMAP);
	struct softgpu_bo *bo;
	struct kfd_mem *mem;
	int r = 0;

	if (!pdd->file)
		return ERR_PTR(-ENODEV);
	if (!size || hweight32(flags & TYPES) != 1 || offset_in_page(va))
		return ERR_PTR(-EINVAL);
	if (device &&
	    size != (device & KFD_IOC_ALLOC_MEM_FLAGS_DOORBELL ? SOFTGPU_DOORBELLS : PAGE_SIZE))
		return ERR_PTR(-EINVAL);
	mem = mem_make(pdd, va, PAGE_ALIGN(size), flags);
	if (IS_ERR(mem))
		return mem;
	if (device) {
		mem->offset = kfd_offset(pdd, flags);
	} else {
		bo = memory(pdd, size, flags, user_addr);
		r = IS_ERR(bo) ? PTR_ERR(bo) : attach(mem, bo);
	}
	if (r == 0)
		r = place(mem, want);
	if (r < 0) {
		mem_free(mem);
		return ERR_PTR(r);
	}
	*id = r;
	return mem;
}

/* Map a buffer on a GPU; nothing to do where it is already. */
int kfd_mem_map(struct kfd_mem *mem, struct kfd_pdd *peer)
{
	u32 index = peer - peer->proc->pdds;
	u64 flags = AMDGPU_VM_PAGE_READABLE;
	int r = 0;

	if (!peer->file)
		return -ENODEV;
	if (test_bit(index, mem->mapped))
		return 0;
	if (mem->flags & KFD_IOC_ALLOC_MEM_FLAGS_WRITABLE)
		flags |= AMDGPU_VM_PAGE_WRITEABLE;
	if (mem->flags & KFD_IOC_ALLOC_MEM_FLAGS_EXECUTABLE)
		flags |= AMDGPU_VM_PAGE_EXECUTABLE;
	if (mem->bo)
		r = softgpu_va_map(peer->vm, mem->bo, mem->va, 0, mem->size, flags, true);
	if (r == 0)
		set_bit(index, mem->mapped);
	return r;
}

KFD_HANDLER(kfd_alloc)
{
	struct kfd_ioctl_alloc_memory_of_gpu_args *args = data;
	struct kfd_pdd *pdd = kfd_pdd_of(p, args->gpu_id);
	struct kfd_mem *mem;
	int id;

	if (!args->size || !pdd)
		return -EINVAL;
	kfd_svm_prune(p, p->mn.mm);
	if (kfd_svm_overlaps(p, args->va_addr, args->va_addr + args->size - 1))
		return -EADDRINUSE;
	mem = kfd_mem_new(pdd, args->va_addr, args->size, args->flags, args->mmap_offset, &id, -1);
	if (IS_ERR(mem))
		return PTR_ERR(mem);
	args->handle = handle_of(pdd, id);
	if (!(args->flags & KFD_IOC_ALLOC_MEM_FLAGS_USERPTR))
		args->mmap_offset = mem->offset;
	return 0;
}

KFD_HANDLER(kfd_free)
{
	struct kfd_ioctl_free_memory_of_gpu_args *args = data;
	struct kfd_mem *mem = kfd_mem_find(p, args->handle, NULL);

	if (!mem)
		return -EINVAL;
	if (p->event_bo && p->event_handle == args->handle)
		return -EPERM;
	if (!bitmap_empty(mem->mapped, SOFTGPU_MAX))
		return -EBUSY;
	mem_remove(mem, (u32)args->handle);
	return 0;
}

/* Both directions of mapping: the devices from n_success on, counting up the good ones. */
static int each_device(struct kfd_proc *p, struct kfd_ioctl_map_memory_to_gpu_args *args, bool map)
{
	struct kfd_mem *mem = kfd_mem_find(p, args->handle, NULL);
	struct kfd_pdd *peer;
	u32 id;
	int r;

	if (!args->n_devices || args->n_success > args->n_devices ||
	    args->n_devices > SOFTGPU_MAX || !mem)
		return -EINVAL;
	for (; args->n_success < args->n_devices; args->n_success++) {
		if (get_user(id, (u32 __user *)u64_to_user_ptr(args->device_ids_array_ptr) +
					 args->n_success))
			return -EFAULT;
		peer = kfd_pdd_of(p, id);
		if (!peer)
			return -EINVAL;
		if (map) {
			r = kfd_mem_map(mem, peer);
			if (r)
				return r;
		} else if (test_and_clear_bit(peer - p->pdds, mem->mapped) && mem->bo) {
			softgpu_va_unmap(peer->vm, mem->bo, mem->va);
		}
	}
	return 0;
}

KFD_HANDLER(kfd_map)
{
	return each_device(p, data, true);
}

static_assert(sizeof(struct kfd_ioctl_map_memory_to_gpu_args) ==
	      sizeof(struct kfd_ioctl_unmap_memory_from_gpu_args));

KFD_HANDLER(kfd_unmap)
{
	return each_device(p, data, false);
}

/* A dma-buf of a buffer; the caller owns the file. flags: DRM_RDWR, DRM_CLOEXEC. */
static int kfd_mem_dmabuf(struct kfd_mem *mem, u32 flags, struct file **file)
{
	struct dma_buf *dmabuf;
	struct drm_device *ddev = &mem->pdd->dev->drm;

	if (!mem->bo || !mem->handle)
		return -EINVAL;
	dmabuf = drm_gem_prime_handle_to_dmabuf(ddev, mem->pdd->dev->client.file, mem->handle,
						flags);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	*file = dmabuf->file;
	return 0;
}

/*
 * What CRIU's buckets carry of a buffer that has contents of its own: a dma-buf, and a descriptor
 * reserved for it in *fd, which is left alone for all others. The caller owns both, the file after
 * an error, too.
 */
int kfd_mem_reserve(struct kfd_mem *mem, u32 *fd, struct file **file)
{
	int r;

	if (!(mem->flags & (KFD_IOC_ALLOC_MEM_FLAGS_VRAM | KFD_IOC_ALLOC_MEM_FLAGS_GTT)))
		return 0;
	r = kfd_mem_dmabuf(
		mem, mem->flags & KFD_IOC_ALLOC_MEM_FLAGS_WRITABLE ? DRM_RDWR : 0, file);
	if (r)
		return r;
	r = get_unused_fd_flags(0);
	if (r < 0)
		return r;
	*fd = r;
	return 0;
}

KFD_HANDLER(kfd_dmabuf_export)
{
	struct kfd_ioctl_export_dmabuf_args *args = data;
	struct kfd_mem *mem = kfd_mem_find(p, args->handle, NULL);
	struct file *file;
	int fd, r;

	if (!mem)
		return -EINVAL;
	fd = get_unused_fd_flags(args->flags & O_CLOEXEC);
	if (fd < 0)
		return fd;
	r = kfd_mem_dmabuf(mem, DRM_RDWR, &file);
	if (r) {
		put_unused_fd(fd);
		return r;
	}
	fd_install(fd, file);
	args->dmabuf_fd = fd;
	return 0;
}

KFD_HANDLER(kfd_dmabuf_import)
{
	struct kfd_ioctl_import_dmabuf_args *args = data;
	struct kfd_pdd *pdd = kfd_pdd_of(p, args->gpu_id);
	struct drm_gem_object *obj;
	struct dma_buf *dmabuf;
	struct kfd_mem *mem;
	u32 flags;
	int r;

	if (!pdd || !pdd->file)
		return -EINVAL;
	dmabuf = dma_buf_get(args->dmabuf_fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	obj = drm_gem_prime_import(&pdd->dev->drm, dmabuf);
	dma_buf_put(dmabuf);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	flags = KFD_IOC_ALLOC_MEM_FLAGS_WRITABLE | KFD_IOC_ALLOC_MEM_FLAGS_EXECUTABLE |
		(to_bo(obj)->domains & AMDGPU_GEM_DOMAIN_VRAM ? KFD_IOC_ALLOC_MEM_FLAGS_VRAM
							     : KFD_IOC_ALLOC_MEM_FLAGS_GTT);
	mem = mem_make(pdd, args->va_addr, obj->size, flags);
	if (IS_ERR(mem)) {
		drm_gem_object_put(obj);
		return PTR_ERR(mem);
	}
	r = attach(mem, to_bo(obj));
	if (r == 0)
		r = place(mem, -1);
	if (r < 0) {
		mem_free(mem);
		return r;
	}
	args->handle = handle_of(pdd, r);
	return 0;
}

KFD_HANDLER(kfd_dmabuf_info)
{
	struct kfd_ioctl_get_dmabuf_info_args *args = data;
	struct dma_buf *dmabuf = dma_buf_get(args->dmabuf_fd);
	struct drm_gem_object *obj;
	struct softgpu_bo *bo;
	u32 i;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (dmabuf->owner != THIS_MODULE) {
		dma_buf_put(dmabuf);
		return -EINVAL;
	}
	obj = dmabuf->priv;
	bo = to_bo(obj);
	args->size = obj->size;
	for (i = 0; i < p->n_pdds; i++)
		if (p->pdds[i].dev == to_dev(obj->dev))
			args->gpu_id = p->pdds[i].user_gpu_id;
	args->flags = bo->domains & AMDGPU_GEM_DOMAIN_VRAM ? KFD_IOC_ALLOC_MEM_FLAGS_VRAM
							   : KFD_IOC_ALLOC_MEM_FLAGS_GTT;
	if (bo->flags & AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED)
		args->flags |= KFD_IOC_ALLOC_MEM_FLAGS_PUBLIC;
	args->metadata_size = bo->metadata.data.data_size_bytes;
	dma_buf_put(dmabuf);
	return 0;
}
