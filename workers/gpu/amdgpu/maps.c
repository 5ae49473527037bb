/* SPDX-License-Identifier: MIT */
/*
 * maps.c - mappings of render nodes and of /dev/kfd, by what is mapped.
 *
 * A buffer has one offset for mmap per device, the same through every file; a mapping is matched by
 * device and offset. (Its address says nothing: only KFD's library gives buffers equal addresses on
 * both sides.) It is made again through a file that may map it: one that the task itself has open,
 * else its owner's. Mappings of dmabufs bear the same offsets and are made through the node.
 *
 * Offsets of /dev/kfd hold a type and the GPU's id: those of buffers (doorbells, registers) come
 * back from the kernel, in others the id is translated.
 *
 * Rights:   none.
 * Holds:    an index of all buffers, sorted.
 */
#include "workers/gpu/amdgpu/maps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/uapi.h"

#define MINOR_KFD UINT32_MAX		/* in the index: offsets of /dev/kfd */

struct place {
	uint32_t minor;			/* at the dump */
	uint64_t offset, size;
	uint64_t new_offset;
	uint64_t key;			/* of the buffer; 0: none */
	struct amd_file *file;		/* to map through; NULL: there is none */
	const struct amd_file *of;	/* whose buffer it is */
};

struct map_index {
	struct place *place;
	size_t n, cap;
};

void map_index_free(struct map_index *x)
{
	if (!x)
		return;
	free(x->place);
	free(x);
}

/* Buffer i of a file; p says where it is and through what it is mapped. */
static void add(struct map_index *x, const struct amd_file *of, size_t i, struct place p)
{
	p.new_offset = of->new_offset ? of->new_offset[i] : 0;
	p.key = amd_bo_key(of, i);
	p.of = of;
	*(struct place *)grow(&x->place, x->n++, &x->cap, sizeof(p)) = p;
}

static void add_node(struct map_index *x, struct amd_file *file)
{
	const CriuRenderNode *node = file->node;
	size_t i;

	for (i = 0; i < node->n_bo_entries; i++) {
		const DrmBoEntry *b = node->bo_entries[i];

		if (b->offset)
			add(x, file, i, (struct place){ .minor = node->drm_render_minor,
							.offset = b->offset,
							.size = b->size,
							.file = file });
	}
}

static void add_kfd(struct amd *a, struct map_index *x, struct amd_file *file)
{
	const CriuKfd *k = file->kfd;
	size_t i;

	for (i = 0; i < k->n_bo_entries; i++) {
		const KfdBoEntry *b = k->bo_entries[i];
		const KfdDeviceEntry *e = topology_gpu(k->device_entries, k->n_device_entries,
						       b->gpu_id);
		bool node = b->alloc_flags & KFD_BO_MEMORY;
		struct place p = { .minor = node && e ? e->drm_render_minor : MINOR_KFD,
				   .offset = b->offset,
				   .size = b->size,
				   .file = file };

		if (node)
			p.file = e && e->has_vm_file ? amd_file_find(a, e->vm_file) : NULL;
		if (!(b->alloc_flags & KFD_BO_USERPTR))
			add(x, file, i, p);
	}
}

static int by_offset(const void *x, const void *y)
{
	const struct place *a = x, *b = y;

	if (a->minor != b->minor)
		return a->minor < b->minor ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->of->id < b->of->id ? -1 : a->of->id > b->of->id;
}

static struct map_index *index_of(struct amd *a)
{
	struct map_index *x = a->maps;
	size_t i;

	if (x)
		return x;
	x = a->maps = xcalloc(1, sizeof(*x));
	for (i = 0; i < a->nfiles; i++) {
		if (a->file[i]->node)
			add_node(x, a->file[i]);
		else if (a->file[i]->kfd)
			add_kfd(a, x, a->file[i]);
	}
	if (x->n)
		qsort(x->place, x->n, sizeof(*x->place), by_offset);
	return x;
}

static bool used_by(const struct amd_file *file, uint32_t pid)
{
	size_t i;

	if (file->pid == (pid_t)pid)
		return true;
	for (i = 0; i < file->nusers; i++)
		if (file->users[i] == (pid_t)pid)
			return true;
	return false;
}

/* Higher is better. */
static int rank(const struct place *p, uint32_t pid)
{
	if (!p->file)
		return 0;
	return (used_by(p->file, pid) ? 4 : 0) + (used_by(p->of, pid) ? 2 : 0) + 1;
}

/* The best place whose range holds the offset. */
static const struct place *find(const struct map_index *x, uint32_t minor, uint64_t offset,
				uint32_t pid)
{
	const struct place *best = NULL, *p;
	size_t low = 0, high = x->n, mid;

	while (low < high) {		/* the first behind (minor, offset) */
		mid = low + (high - low) / 2;
		p = &x->place[mid];
		if (p->minor < minor || (p->minor == minor && p->offset <= offset))
			low = mid + 1;
		else
			high = mid;
	}
	for (; low > 0; low--) {
		p = &x->place[low - 1];
		if (p->minor != minor || (best && p->offset != best->offset))
			break;
		if (offset - p->offset >= p->size)
			break;
		if (!best || rank(p, pid) >= rank(best, pid))
			best = p;
	}
	return best;
}

/*
 * The same whatever the node is called: a container may have renamed it, a dmabuf does not tell.
 * Only a task's own files count then.
 */
static const struct place *find_anywhere(const struct map_index *x, uint64_t offset, uint32_t pid,
					 uint64_t key)
{
	const struct place *best = NULL, *p;
	size_t i;

	for (i = 0; i < x->n; i++) {
		p = &x->place[i];
		if (p->minor == MINOR_KFD || offset < p->offset || offset - p->offset >= p->size ||
		    (key && p->key != key))
			continue;
		if (!best || rank(p, pid) > rank(best, pid))
			best = p;
	}
	return best;
}

enum device_kind map_kind(const char *path, uint32_t *minor)
{
	const char *node = strstr(path, "/renderD");

	*minor = 0;
	if (strncmp(path, "/dmabuf", 7) == 0)
		return DEVICE_DMABUF;
	if (node && sscanf(node, "/renderD%u", minor) == 1)
		return DEVICE_RENDER;
	node = strrchr(path, '/');
	return node && strcmp(node, "/kfd") == 0 ? DEVICE_KFD : DEVICE_OTHER;
}

static const struct place *find_place(struct amd *a, const DeviceMap *m, enum device_kind kind,
				      uint32_t minor)
{
	const struct map_index *x = index_of(a);
	const struct place *p;

	if (kind == DEVICE_KFD)
		return find(x, MINOR_KFD, m->offset, m->pid);
	p = kind == DEVICE_RENDER ? find(x, minor, m->offset, m->pid) : NULL;
	return p ? p
		 : find_anywhere(x, m->offset, m->pid,
				 kind == DEVICE_DMABUF && m->has_ino ? m->ino : 0);
}

static int lost(const DeviceMap *m, const char *why, struct fault *f)
{
	return fault(f, -ENOTSUP, "task %u, mapping %#llx-%#llx of %.60s, offset %#llx: %s", m->pid,
		     (unsigned long long)m->start, (unsigned long long)m->end, m->path,
		     (unsigned long long)m->offset, why);
}

int map_check(struct amd *a, const DeviceMap *m, struct fault *f)
{
	uint32_t minor;
	enum device_kind kind = map_kind(m->path, &minor);
	const struct place *p = find_place(a, m, kind, minor);
	size_t i;

	if (p && p->file)
		return 0;
	if (p)
		return lost(m,
			    "the render node that KFD uses for this buffer is not open in any task "
			    "any more",
			    f);
	for (i = 0; kind == DEVICE_KFD && i < a->nfiles; i++)
		if (a->file[i]->kfd && used_by(a->file[i], m->pid))
			return 0;
	return lost(m,
		    "no open file has this buffer: it was freed, or its file was closed, while it "
		    "stayed mapped;"
		    " have the program keep the file open",
		    f);
}

/* Events and reserved memory of /dev/kfd: only the GPU's id may differ. */
static int translate_kfd(struct amd *a, const DeviceMap *m, uint64_t *offset, int *fd,
			 struct fault *f)
{
	uint32_t gpu = (m->offset & KFD_OFFSET_GPU_MASK) >> KFD_OFFSET_GPU_SHIFT;
	const struct amd_file *file = NULL;
	size_t i, j;

	for (i = 0; i < a->nfiles && !file; i++)
		if (a->file[i]->kfd && a->file[i]->made && used_by(a->file[i], m->pid))
			file = a->file[i];
	if (!file)
		return lost(m, "the task has no restored /dev/kfd", f);
	*offset = m->offset;
	for (j = 0; gpu && j < file->map.n; j++)
		if (file->map.place[j].old_actual_id == gpu)
			break;
	if (gpu && j == file->map.n)
		return lost(m, "its GPU has no place on this machine", f);
	if (gpu)
		*offset = (m->offset & ~KFD_OFFSET_GPU_MASK) |
			  (uint64_t)file->map.place[j].new_gpu_id << KFD_OFFSET_GPU_SHIFT;
	*fd = dev_dup(&a->dev, file->fd);
	return *fd < 0 ? fault(f, errno, "duplicate /dev/kfd") : 0;
}

int map_translate(struct amd *a, const DeviceMap *m, uint64_t *offset, int *fd, struct fault *f)
{
	uint32_t minor;
	enum device_kind kind = map_kind(m->path, &minor);
	const struct place *p = find_place(a, m, kind, minor);

	if (!p && kind == DEVICE_KFD)
		return translate_kfd(a, m, offset, fd, f);
	if (!p)
		return lost(m, "no image has this buffer", f);
	if (!p->file || p->file->fd < 0 || !p->of->made)
		return lost(m, "its file is not restored", f);
	if (m->end < m->start || m->end - m->start > p->size - (m->offset - p->offset))
		return lost(m, "it is longer than the buffer", f);
	*offset = p->new_offset + (m->offset - p->offset);
	*fd = dev_dup(&a->dev, p->file->fd);
	return *fd < 0 ? fault(f, errno, "duplicate a descriptor") : 0;
}
