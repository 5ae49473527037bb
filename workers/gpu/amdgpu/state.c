/* SPDX-License-Identifier: MIT */
/*
 * state.c - the files of an operation.
 *
 * Rights:   none.
 * Holds:    a descriptor per file, per buffer that a file owns.
 */
#include "workers/gpu/amdgpu/state.h"

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/maps.h"
#include "workers/gpu/amdgpu/pack.h"
#include "workers/gpu/amdgpu/uapi.h"

/*
 * CRIU's later plugin knows buffers by their handle number alone: such an identity must not meet an
 * inode number.
 */
#define KEY_BY_HANDLE (1ull << 63)

struct amd_file *amd_file_find(struct amd *a, uint32_t id)
{
	size_t i;

	for (i = 0; i < a->nfiles; i++)
		if (a->file[i]->id == id)
			return a->file[i];
	return NULL;
}

struct amd_file *amd_file_add(struct amd *a, uint32_t id, enum device_kind kind, pid_t pid,
			      const char *name)
{
	struct amd_file *file = xcalloc(1, sizeof(*file));

	file->id = id;
	file->kind = kind;
	file->pid = pid;
	file->name = xstrdup(name);
	file->fd = -1;
	*(struct amd_file **)grow(&a->file, a->nfiles++, &a->files_cap, sizeof(file)) = file;
	return file;
}

size_t amd_bo_count(const struct amd_file *file)
{
	if (file->kfd)
		return file->kfd->n_bo_entries;
	return file->node ? file->node->n_bo_entries : 0;
}

/* Without an inode: an image of CRIU, or (no handle either) a buffer that cannot be shared. */
static uint64_t key_of(bool has_inode, uint64_t inode, bool has_handle, uint32_t handle)
{
	if (has_inode)
		return inode & ~KEY_BY_HANDLE;
	return has_handle && handle != NO_HANDLE ? KEY_BY_HANDLE | handle : 0;
}

uint64_t amd_bo_key(const struct amd_file *file, size_t i)
{
	if (file->kfd) {
		const KfdBoEntry *b = file->kfd->bo_entries[i];

		return key_of(b->has_inode, b->inode, b->has_handle, b->handle);
	}
	if (file->node) {
		const DrmBoEntry *b = file->node->bo_entries[i];

		return key_of(b->has_inode, b->inode, !(b->alloc_flags & U_VM_ALWAYS_VALID),
			      b->handle);
	}
	return key_of(file->dmabuf->has_inode, file->dmabuf->inode, true, file->dmabuf->gem_handle);
}

BoContents *amd_contents_new(struct amd *a, uint64_t size)
{
	if (!a->compress)
		return NULL;
	a->compressed = true;
	return pack_index(size);
}

static void free_file(const struct device *d, struct amd_file *file)
{
	size_t i;

	for (i = 0; file->bo_fd && i < amd_bo_count(file); i++)
		dev_close(d, file->bo_fd[i]);
	dev_close(d, file->fd);
	if (file->kfd)
		criu_kfd__free_unpacked(file->kfd, NULL);
	if (file->node)
		criu_render_node__free_unpacked(file->node, NULL);
	if (file->dmabuf)
		criu_dmabuf_node__free_unpacked(file->dmabuf, NULL);
	gpu_map_free(&file->map);
	free(file->name);
	free(file->bo_fd);
	free(file->new_offset);
	free(file->users);
	free(file->order);
	free(file->slot);
	free(file);
}

void amd_clear(struct amd *a)
{
	size_t i;

	for (i = 0; i < a->nfiles; i++)
		free_file(&a->dev, a->file[i]);
	for (i = 0; i < a->nmaps; i++)
		device_map__free_unpacked(a->map[i], NULL);
	map_index_free(a->maps);
	topology_free(&a->topo);
	free(a->file);
	free(a->map);
	a->file = NULL;
	a->map = NULL;
	a->maps = NULL;
	a->nfiles = a->files_cap = a->nmaps = a->maps_cap = a->expected = 0;
	a->elected = false;
}
