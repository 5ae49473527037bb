/* SPDX-License-Identifier: MIT */
/*
 * drm_restore.c - make an open render node as it was: its handles under their old numbers, their
 * mappings.
 *
 * The kernel gives a new handle the lowest free number (from 1), so numbers come out right when
 * objects are made in ascending order and gaps are filled with small buffers that are closed at the
 * end. An import whose buffer is not there yet has a filler too; once it is, that filler is closed
 * and the import gets its number, as all below are taken. (GEM_CHANGE_HANDLE would do, but kernels
 * have it disabled since CVE-2026-53145.)
 *
 * Rights:   those to open render nodes.
 * Holds:    the file, until the operation ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/drm.h"
#include "workers/gpu/amdgpu/uapi.h"

int drm_open(struct amd *a, struct amd_file *file, struct fault *f)
{
	char path[40];

	if (file->fd >= 0)
		return 0;
	snprintf(path, sizeof(path), "/dev/dri/renderD%u", file->minor);
	file->fd = dev_open(&a->dev, path, O_RDWR | O_CLOEXEC);
	return file->fd < 0 ? fault(f, errno, "%s: open %s", file->name, path) : 0;
}

int drm_publish(struct amd *a, uint64_t key, int dmabuf, struct fault *f)
{
	const struct bo *row = key ? botable_find(a->table, key) : NULL;
	int id;

	if (!row || !row->importers)
		return 0;
	id = fdstore_put(a->store, dmabuf, f);
	return id < 0 ? -1 : botable_publish(a->table, key, id, f);
}

static int create(const struct device *d, int fd, uint64_t size, uint64_t alignment,
		  uint64_t domains, uint64_t flags, uint32_t *handle)
{
	union u_gem_create q = { .in = { size, alignment, domains, flags } };

	if (dev_ioctl(d, fd, IOC_GEM_CREATE, &q) < 0)
		return -1;
	*handle = q.out.handle;
	return 0;
}

static int close_handle(struct amd *a, struct amd_file *file, uint32_t handle, struct fault *f)
{
	struct u_gem_close q = { .handle = handle };

	if (dev_ioctl(&a->dev, file->fd, IOC_GEM_CLOSE, &q) < 0)
		return fault(f, errno, "free handle %u", handle);
	file->slot[handle] = SLOT_EMPTY;
	return 0;
}

/* Everything depends on it: the object just made must have that number. */
static int took(struct amd_file *file, uint32_t wanted, uint32_t got, enum slot what,
		struct fault *f)
{
	if (got != wanted)
		return fault(
			f, -EEXIST,
			"a buffer came as handle %u where %u is the lowest free one: handles cannot"
			" be rebuilt on this kernel",
			got, wanted);
	file->slot[wanted] = what;
	return 0;
}

static int fill(struct amd *a, struct amd_file *file, uint32_t handle, struct fault *f)
{
	uint32_t got;

	if (create(&a->dev, file->fd, STASIS_PAGE, STASIS_PAGE, U_DOMAIN_GTT, 0, &got) < 0)
		return fault(f, errno, "fill the gap at handle %u", handle);
	return took(file, handle, got, SLOT_FILLER, f);
}

static int map_on_gpu(struct amd *a, struct amd_file *file, const DrmBoEntry *b, struct fault *f)
{
	size_t i;

	for (i = 0; i < b->n_vm_entries; i++) {
		const DrmVmEntry *v = b->vm_entries[i];
		struct u_gem_va q = { .handle = b->handle,
				      .operation = U_VA_MAP,
				      .flags = v->flags,
				      .va = v->addr,
				      .offset = v->offset,
				      .size = v->size };

		if (dev_ioctl(&a->dev, file->fd, IOC_GEM_VA, &q) < 0)
			return fault(f, errno, "buffer %u: map it on the GPU at %#llx", b->handle,
				     (unsigned long long)v->addr);
	}
	return 0;
}

static int set_metadata(struct amd *a, struct amd_file *file, const DrmBoEntry *b, struct fault *f)
{
	struct u_metadata m = { .handle = b->handle,
				.op = U_METADATA_SET,
				.flags = b->metadata_flags,
				.tiling = b->tiling,
				.size = b->metadata.len };

	if (!b->has_metadata_flags && !b->has_tiling && !b->has_metadata)
		return 0;
	if (m.size)
		memcpy(m.data, b->metadata.data, m.size);
	if (dev_ioctl(&a->dev, file->fd, IOC_GEM_METADATA, &m) < 0)
		return fault(f, errno, "buffer %u: set its metadata", b->handle);
	return 0;
}

static int find_offset(struct amd *a, struct amd_file *file, size_t i, struct fault *f)
{
	const DrmBoEntry *b = file->node->bo_entries[i];
	union u_gem_mmap q = { .in.handle = b->handle };

	if (b->alloc_flags & U_NO_CPU_ACCESS)
		return 0;
	if (dev_ioctl(&a->dev, file->fd, IOC_GEM_MMAP, &q) < 0)
		return fault(f, errno, "buffer %u: ask where it is mapped from", b->handle);
	file->new_offset[i] = q.offset;
	return 0;
}

/* What importers and the copier need of a buffer of our own. */
static int give_away(struct amd *a, struct amd_file *file, size_t i, struct fault *f)
{
	const DrmBoEntry *b = file->node->bo_entries[i];
	struct copy_job j = { .minor = file->minor,
			      .dmabuf = -1,
			      .node = -1,
			      .node_offset = file->new_offset[i],
			      .size = b->size,
			      .total = b->size,
			      .contents = b->contents,
			      .vram = b->preferred_domains & U_DOMAIN_VRAM };
	struct u_prime p = { .handle = b->handle, .flags = O_CLOEXEC | O_RDWR };

	contents_name_drm(j.file, sizeof(j.file), file->id, file->node->drm_render_minor, i);
	snprintf(j.what, sizeof(j.what), "%.80s, buffer %u", file->name, b->handle);
	if (b->alloc_flags & U_VM_ALWAYS_VALID) {
		j.node = dev_dup(&a->dev, file->fd);
		if (j.node < 0)
			return fault(f, errno, "duplicate its descriptor");
	} else if (dev_ioctl(&a->dev, file->fd, IOC_PRIME_EXPORT, &p) < 0) {
		return fault(f, errno, "export buffer %u", b->handle);
	} else {
		j.dmabuf = p.fd;
	}
	if (j.dmabuf >= 0 && drm_publish(a, amd_bo_key(file, i), j.dmabuf, f) < 0) {
		dev_close(&a->dev, j.dmabuf);
		return -1;
	}
	if (b->preferred_domains & U_DOMAINS_KEPT) {
		copier_add(a->copier, &j);
	} else {
		dev_close(&a->dev, j.dmabuf);
		dev_close(&a->dev, j.node);
	}
	return 0;
}

static int make_own(struct amd *a, struct amd_file *file, size_t i, struct fault *f)
{
	const DrmBoEntry *b = file->node->bo_entries[i];
	uint32_t got;

	if (create(&a->dev, file->fd, b->size, b->alignment, b->preferred_domains, b->alloc_flags,
		   &got) < 0)
		return fault(f, errno, "buffer %u: allocate %llu bytes", b->handle,
			     (unsigned long long)b->size);
	if (took(file, b->handle, got, SLOT_OBJECT, f) < 0 || map_on_gpu(a, file, b, f) < 0 ||
	    set_metadata(a, file, b, f) < 0 || find_offset(a, file, i, f) < 0)
		return -1;
	return give_away(a, file, i, f);
}

static int import(struct amd *a, struct amd_file *file, size_t i, int64_t store_id, struct fault *f)
{
	const DrmBoEntry *b = file->node->bo_entries[i];
	struct u_prime p = { .fd = fdstore_take(a->store, store_id, f) };
	int r;

	if (p.fd < 0)
		return -1;
	if (file->slot[b->handle] == SLOT_FILLER && close_handle(a, file, b->handle, f) < 0)
		r = -1;
	else if (dev_ioctl(&a->dev, file->fd, IOC_PRIME_IMPORT, &p) < 0)
		r = fault(f, errno, "buffer %u: import it", b->handle);
	else
		r = took(file, b->handle, p.handle, SLOT_OBJECT, f);
	dev_close(&a->dev, p.fd);
	if (r < 0 || map_on_gpu(a, file, b, f) < 0)
		return -1;
	return find_offset(a, file, i, f);
}

/* 1: it has to wait. */
static int make_import(struct amd *a, struct amd_file *file, size_t i, struct fault *f)
{
	int64_t id = botable_want(a->table, amd_bo_key(file, i));

	return id < 0 ? 1 : import(a, file, i, id, f);
}

/* Number `handle` of an empty table up to it: buffer *k is the next in order. */
static int make_slot(struct amd *a, struct amd_file *file, uint32_t handle, size_t *k,
		     struct fault *f)
{
	const DrmBoEntry *b = file->node->bo_entries[file->order[*k]];
	size_t i = file->order[*k];
	int r;

	if (b->handle != handle)
		return fill(a, file, handle, f);
	++*k;
	if (!b->is_import)
		return make_own(a, file, i, f);
	r = make_import(a, file, i, f);
	return r == 1 ? fill(a, file, handle, f) : r;
}

static int first_pass(struct amd *a, struct amd_file *file, struct fault *f)
{
	size_t n = file->node->n_bo_entries, k = 0;
	uint32_t h;

	file->nslots = n ? file->node->bo_entries[file->order[n - 1]]->handle : 0;
	file->slot = xcalloc(file->nslots + 1, 1);
	for (h = 1; h <= file->nslots; h++)
		if (make_slot(a, file, h, &k, f) < 0)
			return -1;
	return 0;
}

/* How many imports still wait; -1. */
static long late_imports(struct amd *a, struct amd_file *file, struct fault *f)
{
	size_t k, i;
	long waiting = 0;
	int r;

	for (k = 0; k < file->node->n_bo_entries; k++) {
		i = file->order[k];
		if (file->slot[file->node->bo_entries[i]->handle] == SLOT_OBJECT)
			continue;
		r = make_import(a, file, i, f);
		if (r < 0)
			return -1;
		waiting += r;
	}
	return waiting;
}

static int close_fillers(struct amd *a, struct amd_file *file, struct fault *f)
{
	uint32_t h;

	for (h = 1; h <= file->nslots; h++)
		if (file->slot[h] == SLOT_FILLER && close_handle(a, file, h, f) < 0)
			return -1;
	return 0;
}

/* As drm_restore, without the file's name in the fault. */
static enum hook_answer restore(struct amd *a, struct amd_file *file, struct fault *f)
{
	long waiting;

	if (file->kfd_first && !file->kfd_first->made)
		return HOOK_RETRY;
	if (drm_open(a, file, f) < 0 || (!file->slot && first_pass(a, file, f) < 0))
		return HOOK_FAILED;
	waiting = late_imports(a, file, f);
	if (waiting)
		return waiting < 0 ? HOOK_FAILED : HOOK_RETRY;
	return close_fillers(a, file, f) < 0 ? HOOK_FAILED : HOOK_DONE;
}

enum hook_answer drm_restore(struct amd *a, struct amd_file *file, int *fd, struct fault *f)
{
	enum hook_answer r = file->made ? HOOK_DONE : restore(a, file, f);

	if (r == HOOK_DONE) {
		*fd = dev_dup(&a->dev, file->fd);
		r = *fd < 0 ? fault(f, errno, "duplicate its descriptor") : HOOK_DONE;
	}
	file->made = file->made || r == HOOK_DONE;
	if (r == HOOK_FAILED)
		fault_prefix(f, "%s", file->name);
	return r;
}
