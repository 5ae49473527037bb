// SPDX-License-Identifier: GPL-2.0
/*
 * bo.c - buffers: memory of the shmem helper, or a user's own; their ioctls and mmap.
 *
 * Device memory is ordinary memory with a limit per GPU. The CPU's copies reach the pages of the
 * shmem file directly, those of a user pointer through the owner's mm, those of another driver's
 * dma-buf by its vmap.
 */
#include "softgpu.h"

#include <linux/highmem.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <drm/drm_prime.h>

#define FAULT_PAGES 16

LIST_HEAD(softgpu_bos);
DEFINE_SPINLOCK(softgpu_bos_lock);

static atomic64_t *memory_of(struct softgpu_bo *bo)
{
	return bo->domains & AMDGPU_GEM_DOMAIN_VRAM ? &bo->charged->vram_used
						    : &bo->charged->gtt_used;
}

static void bo_free(struct drm_gem_object *obj)
{
	struct softgpu_bo *bo = to_bo(obj);

	spin_lock(&softgpu_bos_lock);
	list_del(&bo->all);
	spin_unlock(&softgpu_bos_lock);
	if (bo->charged)
		atomic64_sub(obj->size, memory_of(bo));
	if (!iosys_map_is_null(&bo->vmap))
		drm_gem_vunmap_unlocked(obj, &bo->vmap);
	if (bo->mm)
		mmdrop(bo->mm);
	drm_gem_shmem_free(&bo->shmem);
}

/* A file lets go of its last handle: what it mapped by GEM_VA goes. */
static void bo_close(struct drm_gem_object *obj, struct drm_file *filp)
{
	softgpu_va_drop_bo(filp->driver_priv, to_bo(obj));
}

/* As TTM: so many pages at once. The helper has all of them since the mapping was made. */
static vm_fault_t bo_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct drm_gem_shmem_object *shmem = to_drm_gem_shmem_obj(vma->vm_private_data);
	unsigned long at = vmf->address & PAGE_MASK;
	pgoff_t page = vmf->pgoff - drm_vma_node_start(&shmem->base.vma_node);
	vm_fault_t r = VM_FAULT_SIGBUS;
	int i;

	dma_resv_lock(shmem->base.resv, NULL);
	for (i = 0; i < FAULT_PAGES && at < vma->vm_end; i++, at += PAGE_SIZE, page++) {
		if (!shmem->pages || page >= shmem->base.size >> PAGE_SHIFT)
			break;
		r = vmf_insert_pfn(vma, at, page_to_pfn(shmem->pages[page]));
		if (r != VM_FAULT_NOPAGE)
			break;
	}
	dma_resv_unlock(shmem->base.resv);
	return i ? VM_FAULT_NOPAGE : r;
}

static struct vm_operations_struct vm_ops;

void softgpu_bo_init(void)
{
	vm_ops = drm_gem_shmem_vm_ops;
	vm_ops.fault = bo_fault;
}

/* As TTM: device mappings are IO, and a private one that can never be written is allowed. */
static int bo_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	struct softgpu_bo *bo = to_bo(obj);
	int r;

	if (bo->mm || bo->flags & AMDGPU_GEM_CREATE_NO_CPU_ACCESS)
		return -EPERM;
	if (!(vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC | VM_SHARED)))
		vm_flags_clear(vma, VM_MAYWRITE);
	r = drm_gem_shmem_mmap(&bo->shmem, vma);
	if (r == 0)
		vm_flags_set(vma, VM_IO);
	return r;
}

static struct dma_buf *bo_export(struct drm_gem_object *obj, int flags)
{
	struct softgpu_bo *bo = to_bo(obj);

	if (bo->mm || bo->flags & AMDGPU_GEM_CREATE_VM_ALWAYS_VALID)
		return ERR_PTR(-EPERM);
	return drm_gem_prime_export(obj, flags);
}

static const struct drm_gem_object_funcs funcs = {
	.free = bo_free,
	.close = bo_close,
	.export = bo_export,
	.print_info = drm_gem_shmem_object_print_info,
	.pin = drm_gem_shmem_object_pin,
	.unpin = drm_gem_shmem_object_unpin,
	.get_sg_table = drm_gem_shmem_object_get_sg_table,
	.vmap = drm_gem_shmem_object_vmap,
	.vunmap = drm_gem_shmem_object_vunmap,
	.mmap = bo_mmap,
	.vm_ops = &vm_ops,
};

/* Called by the helper for every object, imports too. */
struct drm_gem_object *softgpu_gem_create_object(struct drm_device *ddev, size_t size)
{
	struct softgpu_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL);

	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo_obj(bo)->funcs = &funcs;
	bo->domains = AMDGPU_GEM_DOMAIN_GTT;
	bo->alignment = PAGE_SIZE;
	spin_lock(&softgpu_bos_lock);
	list_add_tail(&bo->all, &softgpu_bos);
	spin_unlock(&softgpu_bos_lock);
	return bo_obj(bo);
}

/* Take memory of its kind for a new buffer; ENOMEM when the limit is reached. */
static int charge(struct softgpu_dev *dev, struct softgpu_bo *bo)
{
	u64 limit = bo->domains & AMDGPU_GEM_DOMAIN_VRAM ? dev->vram_size : SOFTGPU_GTT_SIZE;

	bo->charged = dev;
	if (atomic64_add_return(bo_obj(bo)->size, memory_of(bo)) <= limit)
		return 0;
	return -ENOMEM;
}

/* A new buffer with one reference; the caller has checked domains and flags. */
struct softgpu_bo *softgpu_bo_create(struct softgpu_dev *dev, u64 size, u64 alignment, u64 domains,
				     u64 flags)
{
	struct drm_gem_shmem_object *shmem;
	struct softgpu_bo *bo;
	int r;

	if (!size || size > SOFTGPU_GTT_SIZE)
		return ERR_PTR(size ? -ENOMEM : -EINVAL);
	shmem = drm_gem_shmem_create(&dev->drm, PAGE_ALIGN(size));
	if (IS_ERR(shmem))
		return ERR_CAST(shmem);
	bo = to_bo(&shmem->base);
	shmem->map_wc = false;
	shmem->pages_mark_dirty_on_put = true;
	bo->domains = domains;
	bo->flags = flags;
	bo->alignment = ALIGN(alignment, PAGE_SIZE);
	r = charge(dev, bo);
	if (r) {
		drm_gem_object_put(&shmem->base);
		return ERR_PTR(r);
	}
	return bo;
}

/* As the real driver's flag ANONONLY: no part of it may be a file's. */
static int only_anonymous(u64 addr, u64 size)
{
	struct vm_area_struct *vma;
	u64 at = addr;
	int r = 0;

	mmap_read_lock(current->mm);
	while (r == 0 && at < addr + size) {
		vma = find_vma(current->mm, at);
		if (!vma || vma->vm_start > at)
			r = -EFAULT;
		else if (vma->vm_file)
			r = -EPERM;
		else
			at = vma->vm_end;
	}
	mmap_read_unlock(current->mm);
	return r;
}

/* A buffer over memory of the caller. flags are AMDGPU_GEM_USERPTR_*. */
struct softgpu_bo *softgpu_bo_userptr(struct softgpu_dev *dev, u64 addr, u64 size, u32 flags)
{
	struct softgpu_bo *bo;
	char probe;
	int r = 0;

	addr = untagged_addr(addr);
	if (!size || offset_in_page(addr | size))
		return ERR_PTR(-EINVAL);
	if (flags & AMDGPU_GEM_USERPTR_ANONONLY)
		r = only_anonymous(addr, size);
	if (r)
		return ERR_PTR(r);
	bo = softgpu_bo_create(dev, size, 0, AMDGPU_GEM_DOMAIN_GTT, 0);
	if (IS_ERR(bo))
		return bo;
	mmgrab(current->mm);
	bo->mm = current->mm;
	bo->user_addr = addr;
	if (flags & AMDGPU_GEM_USERPTR_VALIDATE) {
		r = softgpu_bo_copy(bo, 0, &probe, 1, false);
		if (r == 0)
			r = softgpu_bo_copy(bo, size - 1, &probe, 1, false);
	}
	if (r) {
		drm_gem_object_put(bo_obj(bo));
		return ERR_PTR(r);
	}
	return bo;
}

static void move(void *kernel, void *buf, size_t len, bool write)
{
	if (write)
		memcpy(kernel, buf, len);
	else
		memcpy(buf, kernel, len);
}

/*
 * The next three: what is in one piece of len bytes from offset on. Its length, or a negative
 * errno.
 */

/* One page of a user's memory, whoever asks. */
static ssize_t user_copy(struct softgpu_bo *bo, u64 offset, void *buf, size_t len, bool write)
{
	size_t at = offset_in_page(offset);
	struct page *page;
	long n;

	len = min(len, PAGE_SIZE - at);
	if (!mmget_not_zero(bo->mm))
		return -EFAULT;
	mmap_read_lock(bo->mm);
	n = get_user_pages_remote(bo->mm, (bo->user_addr + offset) & PAGE_MASK, 1,
				  write ? FOLL_WRITE : 0, &page, NULL);
	mmap_read_unlock(bo->mm);
	mmput(bo->mm);
	if (n != 1)
		return -EFAULT;
	move(page_address(page) + at, buf, len, write);
	if (write)
		set_page_dirty(page);
	put_page(page);
	return len;
}

static ssize_t import_copy(struct softgpu_bo *bo, u64 offset, void *buf, size_t len, bool write)
{
	static DEFINE_MUTEX(first);
	int r = 0;

	mutex_lock(&first);
	if (iosys_map_is_null(&bo->vmap))
		r = drm_gem_vmap_unlocked(bo_obj(bo), &bo->vmap);
	mutex_unlock(&first);
	if (r)
		return r;
	if (write)
		iosys_map_memcpy_to(&bo->vmap, offset, buf, len);
	else
		iosys_map_memcpy_from(buf, &bo->vmap, offset, len);
	return len;
}

static ssize_t own_copy(struct softgpu_bo *bo, u64 offset, void *buf, size_t len, bool write)
{
	struct folio *folio = shmem_read_folio(bo_obj(bo)->filp->f_mapping, offset >> PAGE_SHIFT);
	size_t at;

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	at = offset_in_folio(folio, offset);
	len = min(len, folio_size(folio) - at);
	move(folio_address(folio) + at, buf, len, write);
	if (write)
		folio_mark_dirty(folio);
	folio_put(folio);
	return len;
}

/* Move len bytes between buf and the buffer. */
int softgpu_bo_copy(struct softgpu_bo *bo, u64 offset, void *buf, size_t len, bool write)
{
	struct drm_gem_object *obj = bo_obj(bo);
	ssize_t n;

	if (offset + len > obj->size)
		return -EFAULT;
	for (; len > 0; offset += n, buf += n, len -= n) {
		if (bo->mm)
			n = user_copy(bo, offset, buf, len, write);
		else if (obj->import_attach)
			n = import_copy(bo, offset, buf, len, write);
		else
			n = own_copy(bo, offset, buf, len, write);
		if (n < 0)
			return n;
	}
	return 0;
}

/* Where the render node shows the buffer to mmap. */
u64 softgpu_bo_offset(struct softgpu_bo *bo)
{
	return drm_vma_node_offset_addr(&bo_obj(bo)->vma_node);
}

int softgpu_ioctl_gem_create(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	union drm_amdgpu_gem_create *args = data;
	u64 domains = args->in.domains, flags = args->in.domain_flags;
	u64 memory = AMDGPU_GEM_DOMAIN_CPU | AMDGPU_GEM_DOMAIN_GTT | AMDGPU_GEM_DOMAIN_VRAM;
	struct softgpu_bo *bo;
	u32 handle;
	int r;

	if (flags & ~SOFTGPU_CREATE_FLAGS || !domains || domains & ~memory)
		return -EINVAL;
	if (args->in.alignment & (args->in.alignment - 1))
		return -EINVAL;
	bo = softgpu_bo_create(to_dev(ddev), args->in.bo_size, args->in.alignment, domains, flags);
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	r = drm_gem_handle_create(filp, bo_obj(bo), &handle);
	drm_gem_object_put(bo_obj(bo));
	if (r)
		return r;
	memset(args, 0, sizeof(*args));
	args->out.handle = handle;
	return 0;
}

int softgpu_ioctl_gem_userptr(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct drm_amdgpu_gem_userptr *args = data;
	struct softgpu_bo *bo;
	int r;

	if (args->flags & ~0xfU)
		return -EINVAL;
	if (!(args->flags & (AMDGPU_GEM_USERPTR_READONLY | AMDGPU_GEM_USERPTR_REGISTER)))
		return -EACCES;
	bo = softgpu_bo_userptr(to_dev(ddev), args->addr, args->size, args->flags);
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	r = drm_gem_handle_create(filp, bo_obj(bo), &args->handle);
	drm_gem_object_put(bo_obj(bo));
	return r;
}

int softgpu_ioctl_gem_mmap(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	union drm_amdgpu_gem_mmap *args = data;
	struct drm_gem_object *obj = drm_gem_object_lookup(filp, args->in.handle);
	int r = 0;

	if (!obj)
		return -ENOENT;
	if (to_bo(obj)->mm || to_bo(obj)->flags & AMDGPU_GEM_CREATE_NO_CPU_ACCESS)
		r = -EPERM;
	else
		r = drm_gem_create_mmap_offset(obj);
	if (r == 0)
		args->out.addr_ptr = softgpu_bo_offset(to_bo(obj));
	drm_gem_object_put(obj);
	return r;
}
