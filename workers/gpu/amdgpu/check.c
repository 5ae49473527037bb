/* SPDX-License-Identifier: MIT */
/*
 * check.c - is this image complete and sane by itself? What it says of other images is plan.c's.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/gpu/amdgpu/check.h"

#include <errno.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/pack.h"
#include "workers/gpu/amdgpu/uapi.h"

#define PRIV_VERSION 1u			/* KFD_CRIU_PRIV_VERSION: the first word of the state */
#define SIZE_LIMIT (1ull << 47)		/* the addresses of a process: also of all its buffers */
#define BOS_MAX (1u << 24)

static int check_size(const char *what, unsigned long long which, uint64_t size, struct fault *f)
{
	if (!size || size % STASIS_PAGE || size > SIZE_LIMIT)
		return fault(f, -EBADMSG, "%s %#llx: size %#llx is not possible", what, which,
			     (unsigned long long)size);
	return 0;
}

static int check_mapping(const DrmBoEntry *b, const DrmVmEntry *v, struct fault *f)
{
	if (!v->size || v->size % STASIS_PAGE || v->addr % STASIS_PAGE || v->offset % STASIS_PAGE ||
	    v->size > b->size || v->offset > b->size - v->size || v->flags > UINT32_MAX)
		return fault(f, -EBADMSG,
			     "buffer %u: mapping of %#llx bytes at %#llx is not possible",
			     b->handle, (unsigned long long)v->size, (unsigned long long)v->addr);
	return 0;
}

static int check_node_bo(const DrmBoEntry *b, struct fault *f)
{
	size_t i;

	if (!b->handle || b->handle > HANDLE_MAX)
		return fault(f, -EBADMSG, "handle %u is not between 1 and %u", b->handle,
			     HANDLE_MAX);
	if (check_size("buffer", b->handle, b->size, f) < 0)
		return -1;
	if (b->preferred_domains & ~U_DOMAINS_OF_MEMORY || !b->preferred_domains ||
	    b->is_import > 1)
		return fault(f, -EBADMSG, "buffer %u: preferred_domains %#x, is_import %u",
			     b->handle, b->preferred_domains, b->is_import);
	if (b->contents && pack_check(b->contents, b->size, f) < 0)
		return fault_prefix(f, "buffer %u", b->handle);
	if (b->num_of_vms != b->n_vm_entries)
		return fault(f, -EBADMSG, "buffer %u: num_of_vms is %u, there are %zu", b->handle,
			     b->num_of_vms, b->n_vm_entries);
	if (b->has_metadata && b->metadata.len > sizeof(((struct u_metadata *)0)->data))
		return fault(f, -EBADMSG, "buffer %u: %zu bytes of metadata", b->handle,
			     b->metadata.len);
	if (b->has_inode && !b->inode)
		return fault(f, -EBADMSG, "buffer %u: inode is 0", b->handle);
	for (i = 0; i < b->n_vm_entries; i++)
		if (check_mapping(b, b->vm_entries[i], f) < 0)
			return -1;
	return 0;
}

static int by_handle(const void *x, const void *y, void *bos)
{
	DrmBoEntry **b = bos;
	uint32_t h = b[*(const size_t *)x]->handle, k = b[*(const size_t *)y]->handle;

	return h < k ? -1 : h > k;
}

static int check_node(struct amd_file *file, struct fault *f)
{
	const CriuRenderNode *n = file->node;
	size_t i;

	if (n->has_num_of_bos && n->num_of_bos != n->n_bo_entries)
		return fault(f, -EBADMSG, "num_of_bos is %llu, there are %zu",
			     (unsigned long long)n->num_of_bos, n->n_bo_entries);
	file->order = xcalloc(n->n_bo_entries + 1, sizeof(*file->order));
	for (i = 0; i < n->n_bo_entries; i++) {
		file->order[i] = i;
		if (check_node_bo(n->bo_entries[i], f) < 0)
			return -1;
	}
	qsort_r(file->order, n->n_bo_entries, sizeof(*file->order), by_handle, n->bo_entries);
	for (i = 1; i < n->n_bo_entries; i++)
		if (n->bo_entries[file->order[i]]->handle ==
		    n->bo_entries[file->order[i - 1]]->handle)
			return fault(f, -EBADMSG, "handle %u is there twice",
				     n->bo_entries[file->order[i]]->handle);
	if (n->n_device_entries > TOPOLOGY_NODES_MAX)
		return fault(f, -EBADMSG, "%zu device_entries are too many", n->n_device_entries);
	return 0;
}

static int check_kfd_bo(const CriuKfd *k, const KfdBoEntry *b, struct fault *f)
{
	if (check_size("buffer at", b->addr, b->size, f) < 0)
		return -1;
	if (b->contents && pack_check(b->contents, b->size, f) < 0)
		return fault_prefix(f, "buffer at %#llx", (unsigned long long)b->addr);
	if (!b->gpu_id || !topology_gpu(k->device_entries, k->n_device_entries, b->gpu_id))
		return fault(f, -EBADMSG, "buffer at %#llx: gpu_id %#x is none of device_entries",
			     (unsigned long long)b->addr, b->gpu_id);
	if (b->has_inode && !b->inode)
		return fault(f, -EBADMSG, "buffer at %#llx: inode is 0",
			     (unsigned long long)b->addr);
	return 0;
}

static int check_kfd(const struct amd_file *file, struct fault *f)
{
	const CriuKfd *k = file->kfd;
	uint64_t total = 0;
	size_t i, gpus = 0;
	uint32_t version;

	if (k->num_of_bos != k->n_bo_entries || k->n_bo_entries > BOS_MAX)
		return fault(f, -EBADMSG, "num_of_bos is %llu, there are %zu",
			     (unsigned long long)k->num_of_bos, k->n_bo_entries);
	if (k->n_device_entries > TOPOLOGY_NODES_MAX)
		return fault(f, -EBADMSG, "%zu device_entries are too many", k->n_device_entries);
	for (i = 0; i < k->n_device_entries; i++)
		gpus += node_is_gpu(k->device_entries[i]);
	if (gpus != k->num_of_gpus)
		return fault(f, -EBADMSG, "num_of_gpus is %u, there are %zu", k->num_of_gpus, gpus);
	for (i = 0; i < k->n_bo_entries; i++) {
		if (check_kfd_bo(k, k->bo_entries[i], f) < 0)
			return -1;
		total += k->bo_entries[i]->size;
		if (total > SIZE_LIMIT)
			return fault(f, -EBADMSG,
				     "its buffers have more than %#llx bytes in all, as many as a "
				     "process has addresses",
				     SIZE_LIMIT);
	}
	if (!k->n_bo_entries && !k->num_of_objects)
		return 0;
	if (k->priv_data.len < sizeof(version))
		return fault(f, -EBADMSG, "priv_data has %zu bytes only", k->priv_data.len);
	memcpy(&version, k->priv_data.data, sizeof(version));
	if (version != PRIV_VERSION)
		return fault(
			f, -ENOTSUP,
			"priv_data is of version %u, only %u is known: it was dumped with another"
			" kernel driver",
			version, PRIV_VERSION);
	return 0;
}

int check_image(struct amd_file *file, struct fault *f)
{
	if (file->kfd)
		return check_kfd(file, f);
	if (file->node)
		return check_node(file, f);
	if (file->dmabuf->has_inode && !file->dmabuf->inode)
		return fault(f, -EBADMSG, "inode is 0");
	return 0;
}
