/* SPDX-License-Identifier: MIT */
/*
 * elect.c - one owner for every buffer, all others import it.
 *
 * The owner of a buffer is KFD where it allocated it, else the file with the lowest id that has it
 * other than from another device. A buffer that files have only from elsewhere was made by
 * something outside of the dump: refused, as is a dmabuf descriptor of a buffer that no file has.
 *
 * For CRIU's plugin, which takes handle numbers for identities, each shared buffer has one number
 * in all images (that of its owner, as far as handles allow), and imports have a contents file, a
 * link to their owner's. Not so when contents are compressed, which it cannot read.
 *
 * Rights:   the image directory.
 * Holds:    nothing.
 */
#include "workers/gpu/amdgpu/elect.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/drm.h"
#include "workers/gpu/amdgpu/kfd.h"
#include "workers/gpu/amdgpu/maps.h"
#include "workers/gpu/amdgpu/uapi.h"

#define HANDLE_OF_NONE 0x40000000u	/* above any real handle */

static const char *name_of(struct amd *a, uint32_t id)
{
	const struct amd_file *file = amd_file_find(a, id);

	return file ? file->name : "a file";
}

int refuse_orphan(uint64_t inode, struct fault *f)
{
	return fault(f, -ENOTSUP,
		     "no open file of the dumped tasks has its buffer (%llu): it was exported from "
		     "outside, or its file was closed; dump the exporter as well",
		     (unsigned long long)inode);
}

int refuse_foreign(uint64_t inode, struct fault *f)
{
	return fault(f, -ENOTSUP,
		     "buffer %llu was imported from a device or process outside of the dump",
		     (unsigned long long)inode);
}

static int check_owners(struct amd *a, struct fault *f)
{
	size_t i;

	for (i = 0; i < botable_count(a->table); i++) {
		const struct bo *b = botable_at(a->table, i);

		if (b->owner == BO_NO_OWNER) {
			refuse_orphan(b->key, f);
			return fault_prefix(f, "%s", name_of(a, b->importer));
		}
		if (b->rank == BO_RANK_IMPORT) {
			refuse_foreign(b->key, f);
			return fault_prefix(f, "%s", name_of(a, b->owner));
		}
	}
	return 0;
}

/* Of a node: who is an import; what CRIU shall call its buffers. */
static void mark_node(struct amd *a, struct amd_file *file)
{
	size_t i;

	for (i = 0; i < file->node->n_bo_entries; i++) {
		DrmBoEntry *b = file->node->bo_entries[i];
		struct bo *row = b->has_inode ? botable_find(a->table, b->inode) : NULL;

		if (!row)
			continue;
		b->is_import = row->owner != file->id;
		if (!b->is_import) {
			row->index = i;
			row->handle = b->handle;
		} else if (!row->handle) {
			row->handle = b->handle;
		}
	}
}

static void name_kfd_buffers(struct amd *a, struct amd_file *file)
{
	size_t i;

	for (i = 0; i < file->kfd->n_bo_entries; i++) {
		KfdBoEntry *b = file->kfd->bo_entries[i];
		struct bo *row = b->has_inode ? botable_find(a->table, b->inode) : NULL;

		if (row && row->importers && !row->handle)
			row->handle = HANDLE_OF_NONE + (row - botable_at(a->table, 0));
		b->handle = row && row->importers ? row->handle : NO_HANDLE;
	}
}

/* The task's /dev/kfd, if it sees the GPU of this node. */
static const CriuKfd *kfd_of(const struct amd *a, const struct amd_file *node)
{
	size_t i;

	for (i = 0; i < a->nfiles; i++) {
		const struct amd_file *k = a->file[i];

		if (k->kfd && k->pid == node->pid &&
		    topology_minor(k->kfd->device_entries, k->kfd->n_device_entries, node->minor))
			return k->kfd;
	}
	return NULL;
}

/* Its GPU, and the machine, as its task knows them. */
static void add_machine(const struct amd *a, struct amd_file *file)
{
	const CriuKfd *k = kfd_of(a, file);
	KfdDeviceEntry *const *from = k ? k->device_entries : a->topo.node;
	size_t i, n = k ? k->n_device_entries : a->topo.n;
	const KfdDeviceEntry *own = topology_minor(from, n, file->minor);
	CriuRenderNode *node = file->node;

	node->gpu_id = own ? own->gpu_id : 0;
	node->device_entries = xcalloc(n + 1, sizeof(*node->device_entries));
	for (i = 0; i < n; i++)
		node->device_entries[node->n_device_entries++] = message_copy(&from[i]->base);
}

static int check_maps(struct amd *a, struct fault *f)
{
	size_t i;

	for (i = 0; i < a->nmaps; i++)
		if (map_check(a, a->map[i], f) < 0)
			return -1;
	return 0;
}

static int save_contents(struct amd *a, struct fault *f)
{
	size_t i;
	int r = 0;

	a->copier = copier_new(&a->dev, a->image_dir, false, a->switches.buffer_max);
	for (i = 0; i < a->nfiles && r == 0; i++) {
		struct amd_file *file = a->file[i];

		if (file->node)
			r = drm_save_contents(a, file, f);
		else if (file->kfd)
			kfd_save_contents(a, file);
	}
	return r;
}

int elect(struct amd *a, struct fault *f)
{
	size_t i;

	a->elected = true;
	if (check_owners(a, f) < 0)
		return -1;
	for (i = 0; i < a->nfiles; i++)
		if (a->file[i]->node)
			mark_node(a, a->file[i]);
	for (i = 0; i < a->nfiles; i++) {
		if (a->file[i]->kfd) {
			name_kfd_buffers(a, a->file[i]);
			if (kfd_find_nodes(a, a->file[i], f) < 0)
				return -1;
		}
	}
	for (i = 0; i < a->nfiles; i++)
		if (a->file[i]->node)
			add_machine(a, a->file[i]);
	return check_maps(a, f) < 0 ? -1 : save_contents(a, f);
}

/* Contents for a reader that fills imports too. */
static int link_imports(struct amd *a, const struct amd_file *file, struct fault *f)
{
	char from[64], to[64];
	size_t i;

	for (i = 0; i < file->node->n_bo_entries; i++) {
		const DrmBoEntry *b = file->node->bo_entries[i];
		const struct bo *row = b->is_import ? botable_find(a->table, b->inode) : NULL;
		const struct amd_file *owner = row ? amd_file_find(a, row->owner) : NULL;

		if (!owner || !owner->node ||
		    !(b->preferred_domains & U_DOMAINS_KEPT))
			continue;
		contents_name_drm(from, sizeof(from), owner->id, owner->minor, row->index);
		contents_name_drm(to, sizeof(to), file->id, file->minor, i);
		if ((unlinkat(a->image_dir, to, 0) < 0 && errno != ENOENT) ||
		    linkat(a->image_dir, from, a->image_dir, to, 0) < 0)
			return fault(f, errno, "link image %s to %s", from, to);
	}
	return 0;
}

/* What an earlier dump left under this number would be taken for the file. */
static int remove_others(struct amd *a, enum img_type type, uint32_t id, struct fault *f)
{
	static const enum img_type types[] = { IMG_AMDGPU_KFD, IMG_AMDGPU_RENDER,
					       IMG_AMDGPU_DMABUF };
	char name[64];
	size_t i;

	for (i = 0; i < ARRAY_LEN(types); i++)
		if (types[i] != type &&
		    unlinkat(a->image_dir, image_name(types[i], id, name, sizeof(name)), 0) < 0 &&
		    errno != ENOENT)
			return fault(f, errno, "remove the old image %s", name);
	return 0;
}

static int write_one(struct amd *a, enum img_type type, uint32_t id, const ProtobufCMessage *msg,
		     struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;

	if (remove_others(a, type, id, f) < 0)
		return -1;
	img = image_create(a->image_dir, type, id, f);
	return !img || image_write(img, msg, f) < 0 ? -1 : image_close(&img, f);
}

static int write_dmabuf(struct amd *a, struct amd_file *file, struct fault *f)
{
	const struct bo *row = botable_find(a->table, file->dmabuf->inode);

	file->dmabuf->gem_handle = row ? row->handle : 0;
	return write_one(a, IMG_AMDGPU_DMABUF, file->id, &file->dmabuf->base, f);
}

int elect_write(struct amd *a, struct fault *f)
{
	size_t i;
	int r = 0;

	for (i = 0; i < a->nfiles && r == 0; i++) {
		struct amd_file *file = a->file[i];

		if (file->kfd)
			r = write_one(a, IMG_AMDGPU_KFD, file->id, &file->kfd->base, f);
		else if (file->node)
			r = !a->compressed && link_imports(a, file, f) < 0 ? -1 :
			    write_one(a, IMG_AMDGPU_RENDER, file->id, &file->node->base, f);
		else
			r = write_dmabuf(a, file, f);
	}
	return r;
}
