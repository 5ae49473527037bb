/* SPDX-License-Identifier: MIT */
/*
 * plan.c - everything that can be known of a restore beforehand.
 *
 * Images are checked field by field. Each buffer must have one owner, which makes it out of
 * nothing; so there is no chain of imports that could wait in a circle, and every import comes true
 * once its owner's file is made. A node whose address space KFD takes waits for that file, and that
 * one waits for nothing. What is missing is named here.
 *
 * Rights:   the image directory.
 * Holds:    the images, in memory.
 */
#include "workers/gpu/amdgpu/plan.h"

#include <errno.h>
#include <stdio.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/gpu/amdgpu/check.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/pack.h"
#include "workers/gpu/amdgpu/uapi.h"

/* The image of a file, or NULL: there is none (f untouched), or it is bad. */
static ProtobufCMessage *read_image(struct amd *a, enum img_type type, uint32_t id, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open_optional(a->image_dir, type, id, f);
	ProtobufCMessage *msg = NULL;

	if (!img || image_read_one(img, &msg, f) < 0)
		return NULL;
	return msg;
}

static struct amd_file *add_file(struct amd *a, const DeviceEntry *e, enum device_kind kind,
				 enum img_type type)
{
	char image[64];
	AUTO_FREE char *name = xasprintf(
		"%s (task %u, descriptor %u)", image_name(type, e->id, image, sizeof(image)),
		e->n_user ? e->user[0]->pid : 0, e->n_user ? e->user[0]->fd : 0);
	struct amd_file *file = amd_file_add(a, e->id, kind, e->n_user ? (pid_t)e->user[0]->pid : 0,
					     name);
	size_t i;

	file->users = xcalloc(e->n_user + 1, sizeof(*file->users));
	for (i = 0; i < e->n_user; i++)
		file->users[file->nusers++] = e->user[i]->pid;
	return file;
}

static int read_file(struct amd *a, const DeviceEntry *e, struct fault *f)
{
	static const struct {
		enum img_type type;
		enum device_kind kind;
	} kinds[] = {
		{ IMG_AMDGPU_KFD, DEVICE_KFD },
		{ IMG_AMDGPU_RENDER, DEVICE_RENDER },
		{ IMG_AMDGPU_DMABUF, DEVICE_DMABUF },
	};
	ProtobufCMessage *msg = NULL;
	struct amd_file *file;
	size_t i;

	for (i = 0; i < ARRAY_LEN(kinds) && !msg; i++) {
		msg = read_image(a, kinds[i].type, e->id, f);
		if (f->code)
			return -1;
	}
	if (!msg)
		return 0;
	if (amd_file_find(a, e->id)) {
		protobuf_c_message_free_unpacked(msg, NULL);
		return fault(f, -EBADMSG, "file %#x is there twice", e->id);
	}
	i--;
	file = add_file(a, e, kinds[i].kind, kinds[i].type);
	if (kinds[i].kind == DEVICE_KFD)
		file->kfd = (CriuKfd *)msg;
	else if (kinds[i].kind == DEVICE_RENDER)
		file->node = (CriuRenderNode *)msg;
	else
		file->dmabuf = (CriuDmabufNode *)msg;
	file->new_offset = xcalloc(amd_bo_count(file) + 1, sizeof(*file->new_offset));
	return check_image(file, f) < 0 ? fault_prefix(f, "%s", file->name) : 0;
}

/* KFD restores the process that opened the file; a child may have inherited it. */
static int find_process(struct amd *a, struct amd_file *file, struct fault *f)
{
	size_t i;

	if (!file->nusers)
		return fault(f, -ENOTSUP,
			     "%s: no task has it open, and only the task that opens /dev/kfd can "
			     "restore it",
			     file->name);
	for (i = 0; i < file->nusers; i++)
		if (file->users[i] == (pid_t)file->kfd->pid)
			file->pid = file->kfd->pid;
	for (i = 0; i < a->nfiles && a->file[i] != file; i++)
		if (a->file[i]->kfd && a->file[i]->pid == file->pid &&
		    a->file[i]->kfd->n_bo_entries && file->kfd->n_bo_entries)
			return fault(f, -EBADMSG, "%s: task %d has the state of two KFD processes",
				     file->name, file->pid);
	return 0;
}

/* ---- places ---- */

static int place_kfd(struct amd *a, struct amd_file *file, struct fault *f)
{
	if (!file->kfd->n_bo_entries && !file->kfd->num_of_objects)
		return 0;
	if (gpu_map_find(file->kfd->device_entries, file->kfd->n_device_entries, &a->topo,
			 &a->switches, true, &file->map, f) < 0)
		return fault_prefix(f, "%s", file->name);
	return 0;
}

/* The GPU of a node, where a task of the dump had it with its /dev/kfd. */
static const struct gpu_place *place_by_kfd(struct amd *a, const struct amd_file *node)
{
	const struct gpu_place *any = NULL, *p;
	size_t i, j;

	for (i = 0; i < a->nfiles; i++) {
		const struct amd_file *k = a->file[i];

		for (j = 0; k->kfd && j < k->map.n; j++) {
			p = &k->map.place[j];
			if (node->node->has_drm_render_minor
				    ? p->old_minor != node->node->drm_render_minor
				    : p->old_gpu_id != node->node->gpu_id)
				continue;
			if (k->pid == node->pid)
				return p;
			any = any ? any : p;
		}
	}
	return any;
}

/* Nodes of tasks without /dev/kfd: one map for all of their GPUs, no two on one. */
struct loose {
	KfdDeviceEntry **node;
	size_t n, cap;
	struct gpu_map map;
};

static void add_loose(struct loose *l, KfdDeviceEntry *e)
{
	if (!topology_node(l->node, l->n, e->node_id))
		*(KfdDeviceEntry **)grow(&l->node, l->n++, &l->cap, sizeof(e)) = e;
}

static void add_machine(struct loose *l, const CriuRenderNode *n)
{
	KfdDeviceEntry *own = topology_minor(n->device_entries, n->n_device_entries,
					     n->drm_render_minor);
	size_t i;

	for (i = 0; i < n->n_device_entries && own; i++)
		if (!node_is_gpu(n->device_entries[i]))
			add_loose(l, n->device_entries[i]);
	if (own)
		add_loose(l, own);
}

/* Images of CRIU say nothing of the machine: the GPU with that id, or the only one there is. */
static const KfdDeviceEntry *place_by_id(const struct amd *a, uint32_t gpu_id)
{
	const KfdDeviceEntry *e = topology_gpu(a->topo.node, a->topo.n, gpu_id), *only = NULL;
	size_t i, n = 0;

	for (i = 0; i < a->topo.n && !e; i++)
		if (node_is_gpu(a->topo.node[i])) {
			only = a->topo.node[i];
			n++;
		}
	return e ? e : n == 1 ? only : NULL;
}

static int place_node(struct amd *a, struct amd_file *file, const struct loose *l, struct fault *f)
{
	const struct gpu_place *p = place_by_kfd(a, file);
	const KfdDeviceEntry *e;
	size_t i;

	for (i = 0; i < l->map.n && !p; i++)
		if (file->node->n_device_entries &&
		    l->map.place[i].old_minor == file->node->drm_render_minor)
			p = &l->map.place[i];
	if (p) {
		file->minor = p->new_minor;
		return 0;
	}
	e = place_by_id(a, file->node->gpu_id);
	if (!e && (a->topo.n || !file->node->has_drm_render_minor))
		return fault(f, -ENODEV, "%s: its GPU (%#x) has no place on this machine",
			     file->name, file->node->gpu_id);
	file->minor = e ? e->drm_render_minor : file->node->drm_render_minor;
	if (!file->node->has_drm_render_minor) {
		file->node->has_drm_render_minor = true;
		file->node->drm_render_minor = file->minor;
	}
	return 0;
}

static int find_places(struct amd *a, struct fault *f)
{
	struct loose l = { 0 };
	size_t i;
	int r = 0;

	for (i = 0; i < a->nfiles && r == 0; i++)
		if (a->file[i]->kfd)
			r = find_process(a, a->file[i], f) < 0 ? -1 : place_kfd(a, a->file[i], f);
	for (i = 0; i < a->nfiles && r == 0; i++)
		if (a->file[i]->node && !place_by_kfd(a, a->file[i]))
			add_machine(&l, a->file[i]->node);
	if (r == 0 && l.n)
		r = gpu_map_find(l.node, l.n, &a->topo, &a->switches, false, &l.map, f);
	for (i = 0; i < a->nfiles && r == 0; i++)
		if (a->file[i]->node)
			r = place_node(a, a->file[i], &l, f);
	gpu_map_free(&l.map);
	free(l.node);
	return r;
}

/* ---- nodes of KFD ---- */

/* Images of CRIU do not say which: the first of the task on that GPU that is free. */
static struct amd_file *guess_node(struct amd *a, const struct amd_file *kfd,
				   const KfdDeviceEntry *e)
{
	size_t i;

	for (i = 0; i < a->nfiles; i++) {
		struct amd_file *node = a->file[i];

		if (node->node && !node->node->n_device_entries && !node->kfd_first &&
		    node->pid == kfd->pid && node->node->gpu_id == e->gpu_id)
			return node;
	}
	return NULL;
}

static int bind_node(struct amd *a, struct amd_file *file, KfdDeviceEntry *e, struct fault *f)
{
	struct amd_file *node = e->has_vm_file ? amd_file_find(a, e->vm_file)
					       : guess_node(a, file, e);
	const struct gpu_place *p = gpu_map_of(&file->map, e->gpu_id);

	if (!node && !e->has_vm_file)
		return 0;
	if (!node || !node->node || node->kfd_first || !p || node->minor != p->new_minor)
		return fault(f, -EBADMSG,
			     "%s: vm_file %#x of GPU %#x is no render node of it that is free: the "
			     "images are"
			     " damaged",
			     file->name, e->vm_file, e->gpu_id);
	e->has_vm_file = true;
	e->vm_file = node->id;
	node->kfd_first = file;
	return 0;
}

static int bind_nodes(struct amd *a, struct fault *f)
{
	size_t i, j;

	for (i = 0; i < a->nfiles; i++) {
		CriuKfd *k = a->file[i]->kfd;

		for (j = 0; k && a->file[i]->map.n && j < k->n_device_entries; j++)
			if (node_is_gpu(k->device_entries[j]) &&
			    bind_node(a, a->file[i], k->device_entries[j], f) < 0)
				return -1;
	}
	return 0;
}

/* ---- buffers ---- */

static bool is_import(const struct amd_file *file, size_t i)
{
	return file->dmabuf || (file->node && file->node->bo_entries[i]->is_import);
}

static int claim_all(struct amd *a, struct amd_file *file, struct fault *f)
{
	size_t i, n = file->dmabuf ? 1 : amd_bo_count(file);
	uint32_t rank = file->kfd ? BO_RANK_KFD : BO_RANK_OWN;

	if (botable_reserve(a->table, botable_count(a->table) + n, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		uint64_t key = amd_bo_key(file, i);

		if (!key && !is_import(file, i))
			continue;	/* nobody else has it */
		if (!(is_import(file, i) ? botable_import(a->table, key, file->id, f) :
		      botable_claim(a->table, key, file->id, rank, 1, f)))
			return fault_prefix(f, "%s", file->name);
	}
	return 0;
}

static int find_owners(struct amd *a, struct fault *f)
{
	size_t i;

	for (i = 0; i < a->nfiles; i++)
		if (claim_all(a, a->file[i], f) < 0)
			return -1;
	for (i = 0; i < botable_count(a->table); i++) {
		const struct bo *b = botable_at(a->table, i);
		const struct amd_file *by = amd_file_find(a, b->importer);

		if (b->owner == BO_NO_OWNER)
			return fault(f, -EBADMSG,
				     "%s imports buffer %#llx, which no file of the images has: "
				     "its exporter's"
				     " image is missing or damaged",
				     by ? by->name : "a file", (unsigned long long)b->key);
	}
	return 0;
}

/* ---- contents ---- */

/* What a file of contents must have behind its header. */
struct extent {
	bool any;
	uint64_t bytes;
};

/* One more buffer in it. */
static void extend(struct extent *e, const BoContents *c, uint64_t size)
{
	uint64_t end = c ? pack_end(c) - PACK_START : e->bytes + size;

	e->any = true;
	e->bytes = end > e->bytes ? end : e->bytes;
}

static int check_kfd_contents(const struct amd *a, const struct amd_file *file, uint32_t gpu_id,
			      struct fault *f)
{
	struct extent e = { 0 };
	char name[64];
	size_t i;

	for (i = 0; gpu_id && i < file->kfd->n_bo_entries; i++) {
		const KfdBoEntry *b = file->kfd->bo_entries[i];

		if (b->gpu_id == gpu_id && (b->alloc_flags & KFD_BO_MEMORY))
			extend(&e, b->contents, b->size);
	}
	contents_name_kfd(name, sizeof(name), file->id, gpu_id);
	return e.any ? contents_check(a->image_dir, name, e.bytes, f) : 0;
}

static int check_contents(const struct amd *a, const struct amd_file *file, struct fault *f)
{
	char name[64];
	size_t i;

	for (i = 0; file->node && i < file->node->n_bo_entries; i++) {
		const DrmBoEntry *b = file->node->bo_entries[i];
		struct extent e = { 0 };

		extend(&e, b->contents, b->size);
		contents_name_drm(name, sizeof(name), file->id, file->node->drm_render_minor, i);
		if (!b->is_import && (b->preferred_domains & U_DOMAINS_KEPT) &&
		    contents_check(a->image_dir, name, e.bytes, f) < 0)
			return -1;
	}
	for (i = 0; file->kfd && i < file->kfd->n_device_entries; i++)
		if (check_kfd_contents(a, file, file->kfd->device_entries[i]->gpu_id, f) < 0)
			return -1;
	return 0;
}

int plan(struct amd *a, const GpuPrepare *req, struct fault *f)
{
	size_t i;

	for (i = 0; i < req->n_file; i++)
		if (read_file(a, req->file[i], f) < 0)
			return -1;
	if (!a->nfiles)
		return 0;
	if (topology_read(&a->dev, TOPOLOGY_ROOT, &a->topo, f) < 0 || find_places(a, f) < 0 ||
	    bind_nodes(a, f) < 0 || find_owners(a, f) < 0)
		return -1;
	for (i = 0; i < a->nfiles; i++)
		if (check_contents(a, a->file[i], f) < 0)
			return fault_prefix(f, "%s", a->file[i]->name);
	return 0;
}
