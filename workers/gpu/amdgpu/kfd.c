/* SPDX-License-Identifier: MIT */
/*
 * kfd.c - a process of KFD, both directions.
 *
 * Dump:     the tracer asked the kernel (coordinator/kfd.c) and passed on the buckets, the opaque
 *           state and a dmabuf for every buffer with contents. Images keep the GPU ids that the
 *           program knows (those of the machine it was started on) and, beside them, those of this
 *           machine, which stand in its mmap offsets.
 * Restore:  the task itself asks the kernel, through its gate (kfd_gate.c), with render nodes of
 *           ours; queues run when RESUME says so.
 * Rights:   RESUME: CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN in the initial user namespace.
 * Holds:    dmabufs of buffers until their contents are copied; the file until the operation ends.
 */
#include "workers/gpu/amdgpu/kfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/drm.h"
#include "workers/gpu/amdgpu/uapi.h"

#define DEV_KFD "/dev/kfd"
#define MINOR_WANTED 8u			/* of version 1: CRIU operations with SDMA of GTT */
#define SHM "/dev/shm/hsakmt_shared_mem"

int kfd_check_version(const struct device *d, struct fault *f)
{
	struct kfd_version v = { 0 };
	int fd = dev_open(d, DEV_KFD, O_RDWR | O_CLOEXEC), r = 0;

	if (fd < 0)
		return fault(f, errno, "open " DEV_KFD);
	if (dev_ioctl(d, fd, KFD_IOC_GET_VERSION, &v) < 0)
		r = fault(f, errno, "ask KFD for its version");
	else if (v.major != 1 || v.minor < MINOR_WANTED)
		r = fault(f, -ENOTSUP,
			  "KFD of this kernel has interface %u.%u, 1.%u is needed: use Linux 5.19 "
			  "or later",
			  v.major, v.minor, MINOR_WANTED);
	dev_close(d, fd);
	return r;
}

/* ---- dump ---- */

static bool sizes_agree(const GpuTraced *t, uint32_t dmabufs)
{
	return t->devices.len == t->num_devices * sizeof(struct kfd_device_bucket) &&
	       t->bos.len == t->num_bos * sizeof(struct kfd_bo_bucket) && dmabufs == t->nfds;
}

static uint32_t count_dmabufs(const GpuTraced *t)
{
	const struct kfd_bo_bucket *b = (const void *)t->bos.data;
	uint32_t i, n = 0;

	for (i = 0; i < t->bos.len / sizeof(*b); i++)
		n += b[i].dmabuf_fd != KFD_NO_DMABUF;
	return n;
}

/* Nodes of the images: all processors, and the GPUs that the process sees, under the ids it knows.
 */
static int add_devices(struct amd *a, CriuKfd *k, const GpuTraced *t, struct fault *f)
{
	const struct kfd_device_bucket *b = (const void *)t->devices.data;
	KfdDeviceEntry *e;
	size_t i;

	k->device_entries = xcalloc(t->num_devices + a->topo.n + 1, sizeof(*k->device_entries));
	for (i = 0; i < t->num_devices; i++) {
		e = topology_gpu(a->topo.node, a->topo.n, b[i].actual_gpu_id);
		if (!e)
			return fault(f, -ENODEV,
				     "KFD names GPU %#x, which is not in " TOPOLOGY_ROOT,
				     b[i].actual_gpu_id);
		e = message_copy(&e->base);
		e->has_actual_gpu_id = true;
		e->actual_gpu_id = e->gpu_id;
		e->gpu_id = b[i].user_gpu_id;
		k->device_entries[k->n_device_entries++] = e;
		k->num_of_gpus++;
	}
	for (i = 0; i < a->topo.n; i++) {
		e = a->topo.node[i];
		if (!node_is_gpu(e)) {
			k->device_entries[k->n_device_entries++] = message_copy(&e->base);
			k->num_of_cpus++;
		}
	}
	return 0;
}

/* Two processes with one buffer of KFD would have one each after a restore: the kernel allocates
 * for every process. */
static int claim(struct amd *a, struct amd_file *file, KfdBoEntry *e, int dmabuf, struct fault *f)
{
	struct device_id id = { 0 };
	const struct bo *row;

	if (device_dmabuf(&a->dev, dmabuf, &id, f) < 0 ||
	    botable_reserve(a->table, botable_count(a->table) + 1, f) < 0)
		return -1;
	row = botable_find(a->table, id.inode);
	if (row && row->owner != BO_NO_OWNER && row->rank == BO_RANK_KFD)
		return fault(f, -ENOTSUP,
			     "the buffer at %#llx is shared with another process through KFD (IPC),"
			     " which cannot be restored",
			     (unsigned long long)e->addr);
	e->has_inode = true;
	e->inode = id.inode;
	return botable_claim(a->table, id.inode, file->id, BO_RANK_KFD, 0, f) ? 0 : -1;
}

static int add_bo(struct amd *a, struct amd_file *file, const struct kfd_bo_bucket *b, int dmabuf,
		  struct fault *f)
{
	CriuKfd *k = file->kfd;
	KfdBoEntry *e = xcalloc(1, sizeof(*e));

	kfd_bo_entry__init(e);
	e->addr = b->addr;
	e->size = b->size;
	e->offset = b->offset;
	e->alloc_flags = b->alloc_flags;
	e->gpu_id = b->gpu_id;
	e->has_handle = true;
	e->handle = NO_HANDLE;
	file->bo_fd[k->n_bo_entries] = dmabuf;
	k->bo_entries[k->n_bo_entries++] = e;
	if ((b->alloc_flags & KFD_BO_MEMORY) && dmabuf < 0)
		return fault(f, -EPROTO, "KFD gave no descriptor of the buffer at %#llx",
			     (unsigned long long)b->addr);
	if (!topology_gpu(k->device_entries, k->n_device_entries, b->gpu_id))
		return fault(f, -EPROTO,
			     "the buffer at %#llx is on GPU %#x, which the process does not see",
			     (unsigned long long)b->addr, b->gpu_id);
	return dmabuf < 0 ? 0 : claim(a, file, e, dmabuf, f);
}

/* CRIU's plugin makes the library's shared memory anew from these; here it is a file like others.
 */
static void describe_shm(const struct device *d, CriuKfd *k)
{
	int fd = dev_open(d, SHM, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && d->ops->fstat(d->ctx, fd, &st) == 0) {
		k->shared_mem_size = st.st_size;
		if (read_full(fd, &k->shared_mem_magic, sizeof(k->shared_mem_magic)) < 0)
			k->shared_mem_magic = 0;
	}
	dev_close(d, fd);
}

static CriuKfd *kfd_message(const struct device *d, const GpuTraced *t)
{
	CriuKfd *k = xcalloc(1, sizeof(*k));

	criu_kfd__init(k);
	describe_shm(d, k);
	k->pid = t->pid;
	k->num_of_bos = t->num_bos;
	k->num_of_objects = t->num_objects;
	k->priv_data.len = t->priv_data.len;
	k->priv_data.data = xcalloc(1, t->priv_data.len + 1);
	if (t->priv_data.len)
		memcpy(k->priv_data.data, t->priv_data.data, t->priv_data.len);
	return k;
}

int kfd_collect(struct amd *a, struct amd_file *file, const GpuTraced *t, int *fds, struct fault *f)
{
	const struct kfd_bo_bucket *b = (const void *)t->bos.data;
	uint32_t i, next = 0;
	int r = -1;

	if (file->kfd || !sizes_agree(t, count_dmabufs(t))) {
		fault(f, -EPROTO, "%s: what the tracer says does not agree with itself",
		      file->name);
		goto out;
	}
	file->kfd = kfd_message(&a->dev, t);
	file->kfd->bo_entries = xcalloc(t->num_bos + 1, sizeof(*file->kfd->bo_entries));
	file->bo_fd = xcalloc(t->num_bos + 1, sizeof(int));
	r = add_devices(a, file->kfd, t, f);
	for (i = 0; i < t->num_bos && r == 0; i++)
		r = add_bo(a, file, &b[i], b[i].dmabuf_fd == KFD_NO_DMABUF ? -1 : fds[next++], f);
	if (r < 0)
		fault_prefix(f, "%s", file->name);
out:
	for (; next < t->nfds; next++)
		dev_close(&a->dev, fds[next]);
	return r;
}

/* May this open of the node map the buffer? The kernel checks that first (EACCES), whoever asks. 1,
 * 0 or -1. */
static int may_map(const struct device *d, const struct amd_file *node, uint64_t offset,
		   struct fault *f)
{
	void *p = d->ops->mmap(d->ctx, STASIS_PAGE, PROT_NONE, MAP_SHARED, node->fd, offset);

	if (p == MAP_FAILED && errno != EPERM && errno != EACCES)
		return fault(f, errno, "%s: find out whether it is the one that KFD uses",
			     node->name);
	if (p == MAP_FAILED)
		return errno == EPERM;
	d->ops->munmap(d->ctx, p, STASIS_PAGE);
	return 1;
}

/* A buffer that tells: of that GPU, mapped through a node, and in no node's handle table if
 * possible. */
static const KfdBoEntry *telling(struct amd *a, const CriuKfd *k, uint32_t gpu_id)
{
	const KfdBoEntry *any = NULL, *b;
	const struct bo *row;
	size_t i;

	for (i = 0; i < k->n_bo_entries; i++) {
		b = k->bo_entries[i];
		if (b->gpu_id != gpu_id || !(b->alloc_flags & KFD_BO_MEMORY) || !b->has_inode)
			continue;
		any = any ? any : b;
		row = botable_find(a->table, b->inode);
		if (row && !row->importers)
			return b;
	}
	return any;
}

/*
 * The node of GPU e whose address space KFD took over. Without a buffer that tells it is the
 * process's first: its library opens that one for KFD, others later.
 */
static int find_node(struct amd *a, const struct amd_file *file, KfdDeviceEntry *e, struct fault *f)
{
	const KfdBoEntry *b = telling(a, file->kfd, e->gpu_id);
	size_t j;
	int r;

	for (j = 0; j < a->nfiles; j++) {
		const struct amd_file *node = a->file[j];

		if (!node->node || node->minor != e->drm_render_minor ||
		    (e->has_vm_file && e->vm_file < node->id))
			continue;
		r = b ? may_map(&a->dev, node, b->offset, f) : node->pid == file->pid;
		if (r < 0)
			return -1;
		if (r) {
			e->has_vm_file = true;
			e->vm_file = node->id;
		}
	}
	return 0;
}

int kfd_find_nodes(struct amd *a, struct amd_file *file, struct fault *f)
{
	size_t i;

	for (i = 0; i < file->kfd->n_device_entries; i++)
		if (node_is_gpu(file->kfd->device_entries[i]) &&
		    find_node(a, file, file->kfd->device_entries[i], f) < 0)
			return -1;
	return 0;
}

/* Bytes in the contents file of a GPU. */
static uint64_t contents_of_gpu(const CriuKfd *k, uint32_t gpu_id)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < k->n_bo_entries; i++)
		if (k->bo_entries[i]->gpu_id == gpu_id &&
		    (k->bo_entries[i]->alloc_flags & KFD_BO_MEMORY))
			n += k->bo_entries[i]->size;
	return n;
}

/*
 * One contents file per GPU, buffers in the order of the entries, back to back. minor: of the GPU
 * here. fds: of the buffers, those with contents are taken over.
 */
static void copy_gpu(struct amd *a, const struct amd_file *file, uint32_t gpu_id, uint32_t minor,
		     int *fds)
{
	const CriuKfd *k = file->kfd;
	struct copy_job j = { .minor = minor, .node = -1, .total = contents_of_gpu(k, gpu_id) };
	size_t i;

	contents_name_kfd(j.file, sizeof(j.file), file->id, gpu_id);
	for (i = 0; i < k->n_bo_entries; i++) {
		const KfdBoEntry *b = k->bo_entries[i];

		if (b->gpu_id != gpu_id || !(b->alloc_flags & KFD_BO_MEMORY))
			continue;
		j.dmabuf = take_fd(&fds[i]);
		j.size = b->size;
		j.contents = b->contents;
		j.vram = b->alloc_flags & KFD_BO_VRAM;
		snprintf(j.what, sizeof(j.what), "%.80s, buffer at %#llx", file->name,
			 (unsigned long long)b->addr);
		copier_add(a->copier, &j);
		j.at += b->size;
	}
}

void kfd_save_contents(struct amd *a, struct amd_file *file)
{
	size_t i;

	for (i = 0; i < file->kfd->n_bo_entries; i++) {
		KfdBoEntry *b = file->kfd->bo_entries[i];

		if (b->alloc_flags & KFD_BO_MEMORY)
			b->contents = amd_contents_new(a, b->size);
	}
	for (i = 0; i < file->kfd->n_device_entries; i++) {
		const KfdDeviceEntry *e = file->kfd->device_entries[i];

		if (node_is_gpu(e))
			copy_gpu(a, file, e->gpu_id, e->drm_render_minor, file->bo_fd);
	}
}

/* ---- restore ---- */

/* The node whose address space KFD takes on this GPU: the task's own, or one of ours for the
 * moment. */
static int open_node(struct amd *a, const KfdDeviceEntry *e, const struct gpu_place *p, int *fd,
		     struct fault *f)
{
	struct amd_file *node = e->has_vm_file ? amd_file_find(a, e->vm_file) : NULL;
	char path[40];

	if (node) {
		if (drm_open(a, node, f) < 0)
			return -1;
		*fd = dev_dup(&a->dev, node->fd);
		return *fd < 0 ? fault(f, errno, "duplicate a render node's descriptor") : 0;
	}
	snprintf(path, sizeof(path), "/dev/dri/renderD%u", p->new_minor);
	*fd = dev_open(&a->dev, path, O_RDWR | O_CLOEXEC);
	return *fd < 0 ? fault(f, errno, "open %s", path) : 0;
}

/*
 * A process that has only opened /dev/kfd, or asked its version, has nothing to restore: RESTORE
 * would give it address spaces that it could not replace by its own.
 */
static bool has_state(const CriuKfd *k)
{
	return k->n_bo_entries || k->num_of_objects;
}

static int fill_devices(struct amd *a, struct amd_file *file, struct kfd_order *o, struct fault *f)
{
	const CriuKfd *k = file->kfd;
	size_t i;
	int fd;

	for (i = 0; i < k->n_device_entries; i++) {
		const KfdDeviceEntry *e = k->device_entries[i];
		const struct gpu_place *p = gpu_map_of(&file->map, e->gpu_id);

		if (!node_is_gpu(e))
			continue;
		if (!p)
			return fault(f, -ENODEV, "GPU %#x has no place on this machine", e->gpu_id);
		if (open_node(a, e, p, &fd, f) < 0)
			return -1;
		o->devices[o->args.num_devices++] = (struct kfd_device_bucket){
			.user_gpu_id = e->gpu_id, .actual_gpu_id = p->new_gpu_id, .drm_fd = fd,
		};
	}
	return 0;
}

static void fill_bos(const CriuKfd *k, struct kfd_order *o)
{
	size_t i;

	for (i = 0; i < k->n_bo_entries; i++) {
		const KfdBoEntry *b = k->bo_entries[i];

		o->bos[i] = (struct kfd_bo_bucket){
			.addr = b->addr, .size = b->size, .offset = b->offset, .gpu_id = b->gpu_id,
			.alloc_flags = b->alloc_flags, .dmabuf_fd = KFD_NO_DMABUF,
		};
	}
	o->args.num_bos = k->n_bo_entries;
	o->args.num_objects = k->num_of_objects;
	o->args.priv_data_size = k->priv_data.len;
	o->priv_data = k->priv_data.data;
}

/* It exists: offsets, importers, contents. */
static int settle(struct amd *a, struct amd_file *file, const struct kfd_order *o, struct fault *f)
{
	const CriuKfd *k = file->kfd;
	size_t i;

	file->bo_fd = xcalloc(k->n_bo_entries + 1, sizeof(int));
	for (i = 0; i < k->n_bo_entries; i++) {
		file->new_offset[i] = o->bos[i].restored_offset;
		file->bo_fd[i] = o->bos[i].dmabuf_fd == KFD_NO_DMABUF ? -1
								      : (int)o->bos[i].dmabuf_fd;
	}
	for (i = 0; i < k->n_bo_entries; i++)
		if (file->bo_fd[i] >= 0 &&
		    drm_publish(a, amd_bo_key(file, i), file->bo_fd[i], f) < 0)
			return -1;
	for (i = 0; i < file->map.n; i++)
		copy_gpu(a, file, file->map.place[i].old_gpu_id, file->map.place[i].new_minor,
			 file->bo_fd);
	return 0;
}

static void close_nodes(struct amd *a, const struct kfd_order *o)
{
	uint32_t i;

	for (i = 0; i < o->args.num_devices; i++)
		dev_close(&a->dev, o->devices[i].drm_fd);
}

int kfd_restore(struct amd *a, struct amd_file *file, struct gate *gate, int spare_fd, int *fd,
		struct fault *f)
{
	const CriuKfd *k = file->kfd;
	AUTO_FREE struct kfd_device_bucket *devices = xcalloc(k->n_device_entries + 1,
							      sizeof(*devices));
	AUTO_FREE struct kfd_bo_bucket *bos = xcalloc(k->n_bo_entries + 1, sizeof(*bos));
	struct kfd_order o = { .gate = gate, .spare_fd = spare_fd, .devices = devices, .bos = bos };
	int r = -1;

	o.pid = gate ? gate_place(gate)->pid : file->pid;
	if (!has_state(k) || fill_devices(a, file, &o, f) == 0) {
		if (has_state(k))
			fill_bos(k, &o);
		file->fd = a->dev.ops->kfd_restore(a->dev.ctx, &o, f);
		r = file->fd < 0 ? -1 : settle(a, file, &o, f);
	}
	close_nodes(a, &o);
	if (r == 0) {
		file->made = true;
		file->real_pid = o.pid;
		*fd = dev_dup(&a->dev, file->fd);
		r = *fd < 0 ? fault(f, errno, "duplicate its descriptor") : 0;
	}
	return r < 0 ? fault_prefix(f, "%s", file->name) : 0;
}

int kfd_resume(struct amd *a, struct amd_file *file, struct fault *f)
{
	struct kfd_criu_args args = { .op = KFD_CRIU_RESUME, .pid = file->real_pid };
	int fd, r = 0;

	/* Linux up to 6.12 frees a list that it keeps: never ask twice. */
	if (file->resumed || !file->made || !has_state(file->kfd))
		return 0;
	file->resumed = true;
	fd = dev_open(&a->dev, DEV_KFD, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fault(f, errno, "%s: open " DEV_KFD, file->name);
	if (dev_ioctl(&a->dev, fd, KFD_IOC_CRIU_OP, &args) < 0 && errno != ESRCH)
		r = fault(f, errno, "%s: KFD does not resume task %d", file->name, file->real_pid);
	dev_close(&a->dev, fd);
	return r;
}
