// SPDX-License-Identifier: GPL-2.0
/*
 * va.c - the page table of one open render node: which buffer is at which GPU address.
 *
 * Mappings never overlap and are found by address in a tree. All access of the engine goes
 * through softgpu_va_copy(), so that a copy may run from one mapping into the next, as on hardware.
 */
#include "softgpu.h"

#include <linux/slab.h>

#define VA_FLAGS (AMDGPU_VM_DELAY_UPDATE | AMDGPU_VM_PAGE_READABLE | AMDGPU_VM_PAGE_WRITEABLE |	\
		  AMDGPU_VM_PAGE_EXECUTABLE | AMDGPU_VM_MTYPE_MASK | AMDGPU_VM_PAGE_NOALLOC)

/* The mapping with the lowest address that ends at or behind va. */
static struct softgpu_mapping *first_from(struct softgpu_file *file, u64 va)
{
	struct rb_node *node = file->mappings.rb_node;
	struct softgpu_mapping *m, *best = NULL;

	while (node) {
		m = rb_entry(node, struct softgpu_mapping, node);
		if (m->last >= va) {
			best = m;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return best;
}

static void insert(struct softgpu_file *file, struct softgpu_mapping *m)
{
	struct rb_node **at = &file->mappings.rb_node, *parent = NULL;

	while (*at) {
		parent = *at;
		at = m->start < rb_entry(parent, struct softgpu_mapping, node)->start
			     ? &parent->rb_left
			     : &parent->rb_right;
	}
	rb_link_node(&m->node, parent, at);
	rb_insert_color(&m->node, &file->mappings);
	drm_gem_object_get(bo_obj(m->bo));
	atomic64_inc(&softgpu_count.mappings);
}

static void drop(struct softgpu_file *file, struct softgpu_mapping *m)
{
	rb_erase(&m->node, &file->mappings);
	drm_gem_object_put(bo_obj(m->bo));
	atomic64_dec(&softgpu_count.mappings);
	kfree(m);
}

static struct softgpu_mapping *make(struct softgpu_bo *bo, u64 start, u64 last, u64 offset,
				    u64 flags, bool kfd)
{
	struct softgpu_mapping *m = kzalloc(sizeof(*m), GFP_KERNEL);

	if (m)
		*m = (struct softgpu_mapping){ .start = start, .last = last, .offset = offset,
					       .flags = flags, .bo = bo, .kfd = kfd };
	return m;
}

/* Whether the driver takes such a range: whole pages, not its own, not in the hole. */
static bool va_valid(u64 va, u64 size)
{
	u64 last = va + size - 1;

	if (!size || offset_in_page(va | size) || last < va || va < SOFTGPU_VA_BOTTOM)
		return false;
	return last < SOFTGPU_VA_HOLE || va >= SOFTGPU_VA_HIGH;
}

/* Map a part of a buffer. EINVAL if the range is not one, or not free. */
int softgpu_va_map(struct softgpu_file *file, struct softgpu_bo *bo, u64 va, u64 offset, u64 size,
		   u64 flags, bool kfd)
{
	struct softgpu_mapping *m, *other;

	if (!va_valid(va, size) || offset_in_page(offset) || offset + size < offset ||
	    offset + size > bo_obj(bo)->size)
		return -EINVAL;
	m = make(bo, va, va + size - 1, offset, flags, kfd);
	if (!m)
		return -ENOMEM;
	mutex_lock(&file->lock);
	other = first_from(file, va);
	if (other && other->start <= m->last) {
		mutex_unlock(&file->lock);
		pr_warn_ratelimited("softgpu: VA %llx-%llx conflicts with %llx-%llx\n", m->start,
				    m->last, other->start, other->last);
		kfree(m);
		return -EINVAL;
	}
	insert(file, m);
	mutex_unlock(&file->lock);
	return 0;
}

/* Undo the mapping of this buffer that starts at va; ENOENT if there is none. */
int softgpu_va_unmap(struct softgpu_file *file, struct softgpu_bo *bo, u64 va)
{
	struct softgpu_mapping *m;
	int r = -ENOENT;

	mutex_lock(&file->lock);
	m = first_from(file, va);
	if (m && m->start == va && m->bo == bo) {
		drop(file, m);
		r = 0;
	}
	mutex_unlock(&file->lock);
	return r;
}

/* Free a range of addresses, whoever holds it; mappings across its edges are cut. */
static int clear(struct softgpu_file *file, u64 va, u64 size)
{
	struct softgpu_mapping *m, *tail;
	u64 last = va + size - 1;

	if (!va_valid(va, size))
		return -EINVAL;
	mutex_lock(&file->lock);
	while ((m = first_from(file, va)) && m->start <= last) {
		if (m->last > last) {
			tail = make(m->bo, last + 1, m->last, m->offset + (last + 1 - m->start),
				    m->flags, m->kfd);
			if (!tail) {
				mutex_unlock(&file->lock);
				return -ENOMEM;
			}
			m->last = last;
			insert(file, tail);
		}
		if (m->start < va)
			m->last = va - 1;
		else
			drop(file, m);
	}
	mutex_unlock(&file->lock);
	return 0;
}

/* The file closes its handle of a buffer. */
void softgpu_va_drop_bo(struct softgpu_file *file, struct softgpu_bo *bo)
{
	struct rb_node *node, *next;
	struct softgpu_mapping *m;

	mutex_lock(&file->lock);
	for (node = rb_first(&file->mappings); node; node = next) {
		next = rb_next(node);
		m = rb_entry(node, struct softgpu_mapping, node);
		if (m->bo == bo && !m->kfd)
			drop(file, m);
	}
	mutex_unlock(&file->lock);
}

void softgpu_va_drop_all(struct softgpu_file *file)
{
	struct rb_node *node;

	mutex_lock(&file->lock);
	while ((node = rb_first(&file->mappings)))
		drop(file, rb_entry(node, struct softgpu_mapping, node));
	mutex_unlock(&file->lock);
}

/* Whether something is mapped at every address of the range. */
bool softgpu_va_covered(struct softgpu_file *file, u64 va, u64 size)
{
	struct softgpu_mapping *m;
	u64 at = va;

	mutex_lock(&file->lock);
	while (at - va < size) {
		m = first_from(file, at);
		if (!m || m->start > at)
			break;
		at = m->last + 1;
	}
	mutex_unlock(&file->lock);
	return at - va >= size;
}

/* Move len bytes between buf and GPU memory. EFAULT where nothing is mapped, or not for this. */
int softgpu_va_copy(struct softgpu_file *file, u64 va, void *buf, size_t len, bool write)
{
	struct softgpu_mapping *m;
	size_t n;
	int r = 0;

	mutex_lock(&file->lock);
	while (len > 0 && r == 0) {
		m = first_from(file, va);
		if (!m || m->start > va ||
		    !(m->flags & (write ? AMDGPU_VM_PAGE_WRITEABLE : AMDGPU_VM_PAGE_READABLE))) {
			pr_warn_ratelimited("softgpu: no %s access at GPU address %llx\n",
					    write ? "write" : "read", va);
			r = -EFAULT;
			break;
		}
		n = min_t(u64, len, m->last + 1 - va);
		r = softgpu_bo_copy(m->bo, m->offset + (va - m->start), buf, n, write);
		va += n;
		buf += n;
		len -= n;
	}
	mutex_unlock(&file->lock);
	return r;
}

int softgpu_ioctl_gem_va(struct drm_device *ddev, void *data, struct drm_file *filp)
{
	struct drm_amdgpu_gem_va *args = data;
	struct softgpu_file *file = filp->driver_priv;
	struct drm_gem_object *obj;
	u64 flags = args->flags & ~(u64)AMDGPU_VM_DELAY_UPDATE;
	int r;

	if (args->flags & ~VA_FLAGS)
		return -EINVAL;
	if (args->operation == AMDGPU_VA_OP_CLEAR)
		return clear(file, args->va_address, args->map_size);
	obj = drm_gem_object_lookup(filp, args->handle);
	if (!obj)
		return -ENOENT;
	switch (args->operation) {
	case AMDGPU_VA_OP_MAP:
		r = softgpu_va_map(file, to_bo(obj), args->va_address, args->offset_in_bo,
				   args->map_size, flags, false);
		break;
	case AMDGPU_VA_OP_UNMAP:
		r = softgpu_va_unmap(file, to_bo(obj), args->va_address);
		break;
	case AMDGPU_VA_OP_REPLACE:
		r = clear(file, args->va_address, args->map_size);
		if (r == 0)
			r = softgpu_va_map(file, to_bo(obj), args->va_address, args->offset_in_bo,
					   args->map_size, flags, false);
		break;
	default:
		r = -EINVAL;
	}
	drm_gem_object_put(obj);
	return r;
}
