/* SPDX-License-Identifier: MIT */
/*
 * drm_dump.c - look at an open render node of a frozen task, through a duplicate of the file.
 *
 * GEM_LIST_HANDLES (Linux 6.18) names the buffers, GET_MAPPING_INFO where they lie in the GPU's
 * address space. Exporting a buffer as a dmabuf gives its identity, the dmabuf's inode number: the
 * same through every file and in every process, for as long as the buffer lives. Handles are
 * numbers of one file and say nothing to another. Everything that the images could not hold is
 * refused by name here, before anything is lost.
 *
 * Rights:   none beyond the descriptor.
 * Holds:    the dmabufs of buffers, until their contents are copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/copy.h"
#include "workers/gpu/amdgpu/drm.h"
#include "workers/gpu/amdgpu/uapi.h"

#define NEEDS "dump on Linux 6.18 or later"
#define ROOM 64
#define TRIES 16			/* a frozen task's table does not grow */
#define PROBE_HANDLES 65536u
#define PROBE_SYNCOBJS 1024u
#define MAPPINGS_MAX (1u << 24)
#define VA_KNOWN 0x3ffu			/* AMDGPU_VM_*: bits 0 to 9 */

static bool is_unknown_call(int err)
{
	return err == EINVAL || err == ENOTTY || err == EOPNOTSUPP;
}

/* 1: this kernel has no such call. */
static int list_handles(const struct device *d, int fd, struct u_list_entry **list, uint32_t *n,
			struct fault *f)
{
	struct u_gem_list q = { .num_entries = ROOM };
	uint32_t room = ROOM;
	int tries;

	*list = NULL;
	for (tries = 0; tries < TRIES; tries++) {
		*list = xrealloc(*list, room, sizeof(**list));
		q.entries = (uintptr_t)*list;
		q.num_entries = room;
		if (dev_ioctl(d, fd, IOC_GEM_LIST, &q) < 0)
			return is_unknown_call(errno) ? 1 : fault(f, errno, "list its buffers");
		*n = q.num_entries;
		if (q.num_entries <= room)
			return 0;
		room = q.num_entries + ROOM;
		if (room > HANDLE_MAX)
			return fault(f, -E2BIG, "%u buffers are too many", q.num_entries);
	}
	return fault(f, -EAGAIN, "its buffers do not stop to grow in number");
}

/*
 * A kernel that cannot list them: is there any? Handles are the lowest free number each, so one
 * above PROBE_HANDLES means that there were as many at a time.
 */
static int refuse_unlisted(const struct device *d, int fd, struct fault *f)
{
	uint32_t h;

	for (h = 1; h <= PROBE_HANDLES; h++) {
		union u_gem_mmap q = { .in.handle = h };

		if (dev_ioctl(d, fd, IOC_GEM_MMAP, &q) == 0 || errno == EPERM)
			return fault(
				f, -ENOTSUP,
				"it has buffers (handle %u), and this kernel does not list them"
				" (GEM_LIST_HANDLES): " NEEDS,
				h);
		if (errno != ENOENT && errno != EINVAL)
			return fault(f, errno, "look for its buffers");
	}
	return 0;
}

/* Contexts and synchronization objects: they can be seen, not dumped. */
static int refuse_contexts(const struct device *d, int fd, struct fault *f)
{
	uint32_t id;

	for (id = 1; id < U_CTX_MAX; id++) {
		union u_ctx q = { .in.op = U_CTX_GET_PSTATE, .in.ctx_id = id };

		if (dev_ioctl(d, fd, IOC_CTX, &q) == 0)
			return fault(f, -ENOTSUP,
				     "it has a context for command submission (number %u), which "
				     "cannot be"
				     " dumped: have the program free it first",
				     id);
		if (errno == EINVAL)
			continue;
		if (!is_unknown_call(errno))
			return fault(f, errno, "look for its contexts");
		break;
	}
	for (id = 1; id <= PROBE_SYNCOBJS; id++) {
		uint64_t point = 0;
		struct u_syncobj_query q = { .handles = (uintptr_t)&id,
					     .points = (uintptr_t)&point,
					     .count = 1 };

		if (dev_ioctl(d, fd, IOC_SYNCOBJ_QUERY, &q) == 0)
			return fault(f, -ENOTSUP,
				     "it has a synchronization object (syncobj %u), which cannot "
				     "be dumped:"
				     " have the program destroy it first",
				     id);
		if (errno == ENOENT)
			continue;
		if (!is_unknown_call(errno))
			return fault(f, errno, "look for its synchronization objects");
		break;
	}
	return 0;
}

static int refuse_entry(const struct u_list_entry *e, struct fault *f)
{
	if (e->flags & U_LIST_USERPTR)
		return fault(
			f, -ENOTSUP,
			"buffer %u is the program's own memory (userptr), which cannot be dumped",
			e->handle);
	if (e->flags & ~(U_LIST_IMPORT | U_LIST_USERPTR))
		return fault(f, -ENOTSUP,
			     "buffer %u is of a kind this version does not know (flags %#x)",
			     e->handle, e->flags);
	if (e->domains & ~(uint64_t)U_DOMAINS_OF_MEMORY || !(e->domains & U_DOMAINS_OF_MEMORY))
		return fault(
			f, -ENOTSUP,
			"buffer %u is no memory (domains %#llx: GDS, GWS, OA or doorbells of user"
			" queues), which cannot be dumped",
			e->handle, (unsigned long long)e->domains);
	if (e->alloc_flags & U_ENCRYPTED)
		return fault(f, -ENOTSUP, "buffer %u is encrypted, its contents cannot be dumped",
			     e->handle);
	if (e->alloc_flags & ~(uint64_t)U_CREATE_KNOWN)
		return fault(f, -ENOTSUP, "buffer %u has flags this version does not know (%#llx)",
			     e->handle, (unsigned long long)e->alloc_flags);
	if (e->alloc_flags & U_VM_ALWAYS_VALID && e->alloc_flags & U_NO_CPU_ACCESS)
		return fault(
			f, -ENOTSUP,
			"buffer %u can neither be exported nor seen by the processor: its contents"
			" cannot be dumped",
			e->handle);
	if (!e->handle || e->handle > HANDLE_MAX)
		return fault(f, -ENOTSUP, "buffer %u: handles above %u are not rebuilt", e->handle,
			     HANDLE_MAX);
	return 0;
}

/* Where it is mapped from. A userptr that an older kernel does not mark gives itself away here. */
static int mmap_offset(const struct device *d, int fd, const struct u_list_entry *e,
		       uint64_t *offset, struct fault *f)
{
	union u_gem_mmap q = { .in.handle = e->handle };

	*offset = 0;
	if (dev_ioctl(d, fd, IOC_GEM_MMAP, &q) == 0) {
		*offset = q.offset;
		return 0;
	}
	if (errno == EPERM && (e->alloc_flags & U_NO_CPU_ACCESS))
		return 0;
	if (errno == EPERM)
		return fault(
			f, -ENOTSUP,
			"buffer %u is the program's own memory (userptr), which cannot be dumped",
			e->handle);
	return fault(f, errno, "ask where buffer %u is mapped from", e->handle);
}

/* The first buffer that cannot be dumped. One that goes while its task runs is no obstacle. */
static int refuse_buffer(const struct device *d, int fd, const struct u_list_entry *e,
			 struct fault *f)
{
	uint64_t offset;

	if (refuse_entry(e, f) < 0)
		return -1;
	if (mmap_offset(d, fd, e, &offset, f) == 0)
		return 0;
	if (f->code != ENOENT)
		return -1;
	*f = (struct fault){ 0 };
	return 0;
}

static int look(const struct device *d, int fd, struct u_list_entry **list, uint32_t *n,
		struct fault *f)
{
	uint32_t i;
	int r;

	*n = 0;
	r = list_handles(d, fd, list, n, f);
	if (r == 1) {
		*n = 0;
		r = refuse_unlisted(d, fd, f);
	}
	for (i = 0; i < *n && r == 0; i++)
		r = refuse_buffer(d, fd, &(*list)[i], f);
	return r < 0 ? -1 : refuse_contexts(d, fd, f);
}

static int check_mappings(uint32_t handle, const struct u_mapping *maps, uint32_t n,
			  struct fault *f)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (maps[i].flags & ~(uint64_t)VA_KNOWN)
			return fault(f, -ENOTSUP,
				     "buffer %u is mapped on the GPU with flags this version does "
				     "not know (%#llx)",
				     handle, (unsigned long long)maps[i].flags);
	return 0;
}

static int read_mappings(const struct device *d, int fd, uint32_t handle, struct u_mapping **maps,
			 uint32_t *n, struct fault *f)
{
	uint32_t room = ROOM;

	for (;;) {
		struct u_gem_op q = { .handle = handle,
				      .op = U_GEM_OP_MAPPINGS,
				      .num_entries = room };

		*maps = xrealloc(*maps, room, sizeof(**maps));
		q.value = (uintptr_t)*maps;
		*n = 0;
		if (dev_ioctl(d, fd, IOC_GEM_OP, &q) < 0) {
			if (errno == ENOENT)
				return 0;	/* hardened kernels: not mapped */
			if (errno == EINVAL)
				return fault(
					f, -ENOTSUP,
					"this kernel does not tell where buffer %u is mapped on the"
					" GPU: " NEEDS,
					handle);
			return fault(f, errno, "ask where buffer %u is mapped on the GPU", handle);
		}
		*n = q.num_entries;
		if (q.num_entries <= room)
			return check_mappings(handle, *maps, *n, f);
		if (q.num_entries > MAPPINGS_MAX)
			return fault(f, -E2BIG, "buffer %u: %u mappings are too many", handle,
				     q.num_entries);
		room = q.num_entries;
	}
}

int drm_judge(const struct device *d, int fd, struct fault *f)
{
	AUTO_FREE struct u_list_entry *list = NULL;
	uint32_t i, mapped, n;
	int r = look(d, fd, &list, &n, f);

	for (i = 0; i < n && r == 0; i++) {
		AUTO_FREE struct u_mapping *maps = NULL;

		r = read_mappings(d, fd, list[i].handle, &maps, &mapped, f);
	}
	return r;
}

static int add_mappings(const struct device *d, int fd, DrmBoEntry *b, struct fault *f)
{
	AUTO_FREE struct u_mapping *maps = NULL;
	uint32_t i, n;

	if (read_mappings(d, fd, b->handle, &maps, &n, f) < 0)
		return -1;
	b->vm_entries = n ? xcalloc(n, sizeof(*b->vm_entries)) : NULL;
	for (i = 0; i < n; i++) {
		DrmVmEntry *v = xcalloc(1, sizeof(*v));

		drm_vm_entry__init(v);
		v->addr = maps[i].va;
		v->size = maps[i].size;
		v->offset = maps[i].offset;
		v->flags = maps[i].flags;
		b->vm_entries[b->n_vm_entries++] = v;
	}
	b->num_of_vms = n;
	b->addr = n ? b->vm_entries[0]->addr : 0;
	return 0;
}

/* What user space keeps with a buffer: tiling, and bytes of its own. */
static int add_metadata(const struct device *d, int fd, DrmBoEntry *b, struct fault *f)
{
	struct u_metadata m = { .handle = b->handle, .op = U_METADATA_GET };

	if (dev_ioctl(d, fd, IOC_GEM_METADATA, &m) < 0)
		return is_unknown_call(errno)
			       ? 0
			       : fault(f, errno, "read the metadata of buffer %u", b->handle);
	if (m.size > sizeof(m.data))
		return fault(f, -EPROTO, "buffer %u has %u bytes of metadata", b->handle, m.size);
	b->has_metadata_flags = m.flags != 0;
	b->metadata_flags = m.flags;
	b->has_tiling = m.tiling != 0;
	b->tiling = m.tiling;
	if (m.size) {
		b->has_metadata = true;
		b->metadata.len = m.size;
		b->metadata.data = xcalloc(1, m.size);
		memcpy(b->metadata.data, m.data, m.size);
	}
	return 0;
}

/* Its dmabuf, or -1: one of those that the kernel keeps to this file. */
static int export(const struct device *d, int fd, const DrmBoEntry *b, int *dmabuf, struct fault *f)
{
	struct u_prime p = { .handle = b->handle, .flags = O_CLOEXEC | O_RDWR };

	*dmabuf = -1;
	if (dev_ioctl(d, fd, IOC_PRIME_EXPORT, &p) == 0) {
		*dmabuf = p.fd;
		return 0;
	}
	if (errno == EPERM && (b->alloc_flags & U_VM_ALWAYS_VALID))
		return 0;
	return fault(f, errno, "export buffer %u", b->handle);
}

static int tell_one(const struct device *d, int fd, const struct u_list_entry *e, drm_tell *tell,
		    void *ctx, struct fault *f)
{
	const DrmBoEntry b = { .handle = e->handle, .alloc_flags = e->alloc_flags };
	struct device_id id;
	int dmabuf, r;

	if (export(d, fd, &b, &dmabuf, f) < 0) {
		if (f->code != ENOENT)
			return -1;
		*f = (struct fault){ 0 };	/* it has gone */
	}
	if (dmabuf < 0)
		return 0;
	r = device_dmabuf(d, dmabuf, &id, f);
	dev_close(d, dmabuf);
	return r < 0 ? -1 : tell(ctx, e->handle, id.inode, e->flags & U_LIST_IMPORT, f);
}

int drm_identities(const struct device *d, int fd, bool imports_only, drm_tell *tell, void *ctx,
		   struct fault *f)
{
	AUTO_FREE struct u_list_entry *list = NULL;
	uint32_t i, n = 0;
	int r = list_handles(d, fd, &list, &n, f);

	for (i = 0; i < n && r == 0; i++)
		if (!imports_only || list[i].flags & U_LIST_IMPORT)
			r = tell_one(d, fd, &list[i], tell, ctx, f);
	return r < 0 ? -1 : 0;
}

/*
 * Its row in the table. The descriptor is kept by who owns it so far: the contents are copied
 * through it, and while it is open the inode number is not used again. Who loses once never wins
 * later. A file has one handle of a buffer at most: an import finds the one that there is, be it
 * made, exported or imported (drm_prime.c keeps them by dmabuf and looks there first), and opening
 * by name (GEM_OPEN), which makes another, is for primary nodes only.
 */
static int claim(struct amd *a, struct amd_file *file, size_t i, bool import, int dmabuf,
		 struct fault *f)
{
	DrmBoEntry *b = file->node->bo_entries[i];
	struct device_id id = { 0 };
	const struct bo *row;

	if (device_dmabuf(&a->dev, dmabuf, &id, f) < 0 ||
	    botable_reserve(a->table, botable_count(a->table) + 1, f) < 0)
		return -1;
	b->has_inode = true;
	b->inode = id.inode;
	row = botable_claim(a->table, id.inode, file->id, import ? BO_RANK_IMPORT : BO_RANK_OWN, 0,
			    f);
	if (!row)
		return -1;
	return row->owner == file->id;
}

static int collect_one(struct amd *a, struct amd_file *file, size_t i, const struct u_list_entry *e,
		       struct fault *f)
{
	DrmBoEntry *b = xcalloc(1, sizeof(*b));
	const struct device *d = &a->dev;
	int dmabuf, r;

	drm_bo_entry__init(b);
	file->node->bo_entries[i] = b;
	file->node->n_bo_entries = i + 1;
	file->bo_fd[i] = -1;
	b->handle = e->handle;
	b->size = e->size;
	b->preferred_domains = e->domains;
	b->alloc_flags = e->alloc_flags;
	b->alignment = e->alignment;
	if (mmap_offset(d, file->fd, e, &b->offset, f) < 0 || add_mappings(d, file->fd, b, f) < 0 ||
	    add_metadata(d, file->fd, b, f) < 0 || export(d, file->fd, b, &dmabuf, f) < 0)
		return -1;
	if (dmabuf < 0)
		return 0;
	r = claim(a, file, i, e->flags & U_LIST_IMPORT, dmabuf, f);
	if (r > 0)
		file->bo_fd[i] = dmabuf;
	else
		dev_close(d, dmabuf);
	return r < 0 ? -1 : 0;
}

static int by_handle(const void *x, const void *y)
{
	const struct u_list_entry *a = x, *b = y;

	return a->handle < b->handle ? -1 : a->handle > b->handle;
}

int drm_collect(struct amd *a, struct amd_file *file, struct fault *f)
{
	AUTO_FREE struct u_list_entry *list = NULL;
	CriuRenderNode *node = xcalloc(1, sizeof(*node));
	uint32_t i, n = 0;

	criu_render_node__init(node);
	file->node = node;
	node->has_id = node->has_drm_render_minor = node->has_num_of_bos = true;
	node->id = file->id;
	node->drm_render_minor = file->minor;
	if (look(&a->dev, file->fd, &list, &n, f) < 0)
		return -1;
	if (n)
		qsort(list, n, sizeof(*list), by_handle);
	node->bo_entries = xcalloc(n + 1, sizeof(*node->bo_entries));
	file->bo_fd = xcalloc(n + 1, sizeof(int));
	for (i = 0; i < n; i++)
		if (collect_one(a, file, i, &list[i], f) < 0)
			return -1;
	node->num_of_bos = n;
	return 0;
}

static void describe(struct copy_job *j, const struct amd_file *file, const DrmBoEntry *b)
{
	snprintf(j->what, sizeof(j->what), "%.80s, buffer %u", file->name, b->handle);
}

int drm_save_contents(struct amd *a, struct amd_file *file, struct fault *f)
{
	const CriuRenderNode *node = file->node;
	size_t i;

	for (i = 0; i < node->n_bo_entries; i++) {
		DrmBoEntry *b = node->bo_entries[i];
		struct copy_job j = { .minor = file->minor,
				      .dmabuf = -1,
				      .node = -1,
				      .node_offset = b->offset,
				      .size = b->size,
				      .total = b->size,
				      .vram = b->preferred_domains & U_DOMAIN_VRAM };

		if (b->is_import || !(b->preferred_domains & U_DOMAINS_KEPT))
			continue;
		contents_name_drm(j.file, sizeof(j.file), file->id, file->minor, i);
		describe(&j, file, b);
		j.contents = b->contents = amd_contents_new(a, b->size);
		j.dmabuf = take_fd(&file->bo_fd[i]);
		if (j.dmabuf < 0)
			j.node = dev_dup(&a->dev, file->fd);
		if (j.dmabuf < 0 && j.node < 0)
			return fault(f, errno, "%s: duplicate its descriptor", file->name);
		copier_add(a->copier, &j);
	}
	return 0;
}
