/* SPDX-License-Identifier: MIT */
/*
 * gpu.c - the model behind tests/fake/gpu.h.
 *
 * Rules are those of Linux's amdgpu, amdkfd and DRM core (reference: gpu-facts.md); a call that
 * breaks one gets the errno that the kernel gives.
 *
 * Holds:    a memfd per buffer and per open file, until fake_free.
 */
#include "tests/fake/gpu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/uapi.h"

#define SLOTS 65536u
#define FIRST_OFFSET 0x100000000ull
#define ROOT "/sys/class/kfd/kfd/topology/nodes"

struct bo {
	ino_t ino;
	int fd;
	size_t gpu;
	uint64_t size, domains, flags, offset;
	bool userptr, exported;
	uint64_t tiling;
	int vm_of;			/* KFD's: index of the node that may map it; -1 */
	struct bo *next;
};

struct va {
	uint32_t handle;
	uint64_t va, size, offset, flags;
};

struct file {
	ino_t ino;
	size_t gpu;
	struct bo **handle;		/* by number, NULL: free */
	uint32_t nhandles;
	struct va *va;
	size_t nva, va_cap;
	uint32_t contexts;
	bool vm_taken;
};

struct kbo {
	struct bo *bo;
	uint64_t va, size, offset;
	uint32_t flags, gpu_id;
};

struct process {
	pid_t pid;
	ino_t ino;			/* of its /dev/kfd */
	uint32_t user_id[FAKE_GPUS];
	int vm[FAKE_GPUS];		/* index of the node */
	struct kbo *kbo;
	size_t n, cap;
	uint32_t objects;
	bool blocked, resumed;
};

struct fake {
	struct fake_gpu gpu[FAKE_GPUS];
	size_t ngpus;
	struct fake_ways ways;
	pthread_mutex_t lock;
	struct bo *slot[SLOTS];
	uint64_t next_offset[FAKE_GPUS];
	struct file *file;
	size_t nfiles, files_cap;
	struct process *process;
	size_t nprocesses, processes_cap;
	uint64_t calls, fail_at, engine_bytes;
	int fail_errno;
};

/* ---- look up ---- */

static bool failing(struct fake *w)
{
	bool now;

	pthread_mutex_lock(&w->lock);
	now = ++w->calls == w->fail_at;
	pthread_mutex_unlock(&w->lock);
	if (now)
		errno = w->fail_errno;
	return now;
}

static ino_t ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

static struct bo *bo_by_ino(struct fake *w, ino_t ino)
{
	struct bo *b;

	for (b = w->slot[ino % SLOTS]; b && b->ino != ino; b = b->next)
		;
	return b;
}

static struct file *file_by_ino(struct fake *w, ino_t ino)
{
	size_t i;

	for (i = 0; i < w->nfiles; i++)
		if (w->file[i].ino == ino)
			return &w->file[i];
	return NULL;
}

static struct process *process_by_ino(struct fake *w, ino_t ino)
{
	size_t i;

	for (i = 0; i < w->nprocesses; i++)
		if (w->process[i].ino == ino)
			return &w->process[i];
	return NULL;
}

static struct process *process_by_pid(struct fake *w, pid_t pid)
{
	size_t i;

	for (i = 0; i < w->nprocesses; i++)
		if (w->process[i].pid == pid)
			return &w->process[i];
	return NULL;
}

static struct bo *bo_new(struct fake *w, size_t gpu, uint64_t size)
{
	struct bo *b = xcalloc(1, sizeof(*b));

	b->fd = memfd_create("buffer", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, size) < 0)
		die("the fake has no memory (%s, %zu descriptors)", strerror(errno),
		    fake_open_fds());
	b->ino = ino_of(b->fd);
	b->gpu = gpu;
	b->size = size;
	b->vm_of = -1;
	b->offset = w->next_offset[gpu];
	w->next_offset[gpu] += size;
	b->next = w->slot[b->ino % SLOTS];
	w->slot[b->ino % SLOTS] = b;
	return b;
}

static struct bo *bo_of(struct file *f, uint32_t handle)
{
	return handle && handle < f->nhandles ? f->handle[handle] : NULL;
}

static uint32_t handle_new(struct file *f, struct bo *b)
{
	uint32_t h;

	for (h = 1; h < f->nhandles && f->handle[h]; h++)
		;
	if (h >= f->nhandles) {
		uint32_t n = f->nhandles ? 2 * f->nhandles : 16;

		f->handle = xrealloc(f->handle, n, sizeof(*f->handle));
		memset(f->handle + f->nhandles, 0, (n - f->nhandles) * sizeof(*f->handle));
		f->nhandles = n;
	}
	f->handle[h] = b;
	return h;
}

static int no(int err)
{
	errno = err;
	return -1;
}

/* ---- ioctls of a node ---- */

static int do_create(struct fake *w, struct file *f, union u_gem_create *q)
{
	struct bo *b;

	if (!q->in.size || q->in.domains & ~7ull || !q->in.domains)
		return no(EINVAL);
	b = bo_new(w, f->gpu, (q->in.size + 4095) & ~4095ull);
	b->domains = q->in.domains;
	b->flags = q->in.flags;
	q->out.handle = handle_new(f, b);
	return 0;
}

/* The last handle of one that was never shared. */
static void bo_free(struct fake *w, struct bo *b)
{
	struct bo **at = &w->slot[b->ino % SLOTS];

	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	close(b->fd);
	free(b);
}

static int do_close(struct fake *w, struct file *f, const struct u_gem_close *q)
{
	struct bo *b = bo_of(f, q->handle);
	size_t i, n = 0;

	if (!b)
		return no(EINVAL);
	f->handle[q->handle] = NULL;
	if (!b->exported)
		bo_free(w, b);
	for (i = 0; i < f->nva; i++)
		if (f->va[i].handle != q->handle)
			f->va[n++] = f->va[i];
	f->nva = n;
	return 0;
}

static int do_mmap(struct fake *w, struct file *f, union u_gem_mmap *q)
{
	const struct bo *b = bo_of(f, q->in.handle);

	if (!b)
		return no(ENOENT);
	if (b->userptr || b->flags & U_NO_CPU_ACCESS ||
	    (w->ways.invisible_vram && b->flags & U_NO_CPU_ACCESS))
		return no(EPERM);
	q->offset = b->offset;
	return 0;
}

static int do_va(struct file *f, const struct u_gem_va *q)
{
	const struct bo *b = bo_of(f, q->handle);
	size_t i;

	if (!b)
		return no(ENOENT);
	if (q->operation != U_VA_MAP || !q->size || q->offset + q->size > b->size || q->va % 4096)
		return no(EINVAL);
	for (i = 0; i < f->nva; i++)
		if (q->va < f->va[i].va + f->va[i].size && f->va[i].va < q->va + q->size)
			return no(EINVAL);
	*(struct va *)grow(&f->va, f->nva++, &f->va_cap, sizeof(struct va)) =
		(struct va){ q->handle, q->va, q->size, q->offset, q->flags };
	return 0;
}

static int do_list(struct fake *w, struct file *f, struct u_gem_list *q)
{
	struct u_list_entry *e = (void *)(uintptr_t)q->entries;
	uint32_t h, n = 0, room = q->num_entries;

	if (w->ways.no_list)
		return no(EINVAL);
	for (h = 1; h < f->nhandles; h++)
		n += !!f->handle[h];
	q->num_entries = n;
	if (n > room)
		return 0;
	for (h = 1; h < f->nhandles; h++) {
		const struct bo *b = f->handle[h];

		if (b)
			*e++ = (struct u_list_entry) {
				h,	  b->gpu != f->gpu ? U_LIST_IMPORT : 0,
				b->size,  b->domains,
				b->flags, 4096
			};
	}
	return 0;
}

static int do_op(struct fake *w, struct file *f, struct u_gem_op *q)
{
	struct u_mapping *m = (void *)(uintptr_t)q->value;
	uint32_t n = 0, room = q->num_entries;
	size_t i;

	if (w->ways.no_list || q->op != U_GEM_OP_MAPPINGS || q->pad)
		return no(EINVAL);
	if (!bo_of(f, q->handle))
		return no(ENOENT);
	for (i = 0; i < f->nva; i++) {
		if (f->va[i].handle != q->handle)
			continue;
		if (n < room)
			m[n] = (struct u_mapping) { f->va[i].va, f->va[i].size, f->va[i].offset,
						    f->va[i].flags };
		n++;
	}
	q->num_entries = n;
	return !n && w->ways.mapping_enoent ? no(ENOENT) : 0;
}

static int do_export(struct file *f, struct u_prime *q)
{
	struct bo *b = bo_of(f, q->handle);

	if (!b)
		return no(ENOENT);
	if (b->userptr || b->flags & U_VM_ALWAYS_VALID)
		return no(EPERM);
	q->fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
	b->exported = true;
	return q->fd < 0 ? -1 : 0;
}

static int do_import(struct fake *w, struct file *f, struct u_prime *q)
{
	struct bo *b = bo_by_ino(w, ino_of(q->fd));
	uint32_t h;

	if (!b)
		return no(EINVAL);
	for (h = 1; h < f->nhandles; h++)
		if (f->handle[h] == b) {
			q->handle = h;
			return 0;
		}
	q->handle = handle_new(f, b);
	return 0;
}

static int do_metadata(struct file *f, struct u_metadata *q)
{
	struct bo *b = bo_of(f, q->handle);

	if (!b)
		return no(ENOENT);
	if (q->op == U_METADATA_SET)
		b->tiling = q->tiling;
	else
		q->tiling = b->tiling;
	return 0;
}

static int node_ioctl(struct fake *w, struct file *f, unsigned long nr, void *arg)
{
	const union u_ctx *ctx = arg;

	switch (nr) {
	case IOC_GEM_CREATE:
		return do_create(w, f, arg);
	case IOC_GEM_CLOSE:
		return do_close(w, f, arg);
	case IOC_GEM_MMAP:
		return do_mmap(w, f, arg);
	case IOC_GEM_VA:
		return do_va(f, arg);
	case IOC_GEM_LIST:
		return do_list(w, f, arg);
	case IOC_GEM_OP:
		return do_op(w, f, arg);
	case IOC_PRIME_EXPORT:
		return do_export(f, arg);
	case IOC_PRIME_IMPORT:
		return do_import(w, f, arg);
	case IOC_GEM_METADATA:
		return do_metadata(f, arg);
	case IOC_CTX:
		return w->ways.no_contexts	       ? no(ENOTTY)
		       : ctx->in.ctx_id <= f->contexts ? 0
						       : no(EINVAL);
	case IOC_SYNCOBJ_QUERY:
		return w->ways.no_contexts ? no(EOPNOTSUPP) : no(ENOENT);
	}
	return no(EINVAL);
}

/* ---- KFD ---- */

static size_t priv_size(const struct process *p, size_t ngpus)
{
	return 8 + ngpus * 8 + p->n * 16 + p->objects * 8;
}

static void buckets(const struct fake *w, const struct process *p, struct kfd_device_bucket *d,
		    struct kfd_bo_bucket *b, uint8_t *priv)
{
	size_t i;

	for (i = 0; i < w->ngpus; i++)
		d[i] = (struct kfd_device_bucket){ p->user_id[i], w->gpu[i].gpu_id, 0, 0 };
	for (i = 0; i < p->n; i++) {
		const struct kbo *k = &p->kbo[i];

		b[i] = (struct kfd_bo_bucket) { k->va,	   k->size,  k->offset,	    0,
						k->gpu_id, k->flags, KFD_NO_DMABUF, 0 };
		if (k->bo)
			b[i].dmabuf_fd = fcntl(k->bo->fd, F_DUPFD, 0);
	}
	memset(priv, 0xa5, priv_size(p, w->ngpus));
	memcpy(priv, &(uint32_t){ 1 }, 4);
}

static int kfd_resume_op(struct fake *w, const struct kfd_criu_args *a)
{
	struct process *p = process_by_pid(w, a->pid);

	if (!p)
		return no(ESRCH);
	if (!p->blocked)
		return no(EINVAL);
	p->blocked = false;
	p->resumed = true;
	return 0;
}

static int kfd_ioctl(struct fake *w, unsigned long nr, void *arg)
{
	struct kfd_criu_args *a = arg;

	if (nr == KFD_IOC_GET_VERSION) {
		*(struct kfd_version *)arg = (struct kfd_version) { 1, w->ways.kfd_minor
									       ? w->ways.kfd_minor
									       : 17 };
		return 0;
	}
	return nr == KFD_IOC_CRIU_OP && a->op == KFD_CRIU_RESUME ? kfd_resume_op(w, a) : no(EINVAL);
}

static size_t gpu_by_id(const struct fake *w, uint32_t gpu_id)
{
	size_t i;

	for (i = 0; i < w->ngpus && w->gpu[i].gpu_id != gpu_id; i++)
		;
	return i;
}

static int64_t node_index(struct fake *w, int fd)
{
	struct file *f = file_by_ino(w, ino_of(fd));

	return f ? f - w->file : -1;
}

/* The offset in /dev/kfd of a doorbell or register page. */
static uint64_t kfd_offset(uint32_t flags, uint32_t gpu_id)
{
	return (flags & KFD_BO_DOORBELL ? 3ull << 62 : 0) | (uint64_t)gpu_id
								    << KFD_OFFSET_GPU_SHIFT;
}

static struct kbo *kbo_new(struct fake *w, struct process *p, size_t gpu, uint64_t va,
			   uint64_t size, uint32_t flags)
{
	struct kbo *k = grow(&p->kbo, p->n++, &p->cap, sizeof(*k));

	*k = (struct kbo){ NULL, va, size, 0, flags, p->user_id[gpu] };
	if (flags & (KFD_BO_VRAM | KFD_BO_GTT)) {
		k->bo = bo_new(w, gpu, size);
		k->bo->domains = flags & KFD_BO_VRAM ? U_DOMAIN_VRAM : U_DOMAIN_GTT;
		k->bo->vm_of = p->vm[gpu];
		k->bo->exported = true;
		k->offset = k->bo->offset;
	} else if (!(flags & KFD_BO_USERPTR)) {
		k->offset = kfd_offset(flags, w->gpu[gpu].gpu_id);
	}
	return k;
}

static int restore_devices(struct fake *w, struct process *p, const struct kfd_order *o,
			   struct fault *f)
{
	uint32_t i;

	if (o->args.num_devices != w->ngpus)
		return fault(f, EINVAL, "%u GPUs, not %zu", o->args.num_devices, w->ngpus);
	for (i = 0; i < o->args.num_devices; i++) {
		size_t g = gpu_by_id(w, o->devices[i].actual_gpu_id);
		int64_t node = node_index(w, o->devices[i].drm_fd);

		if (g == w->ngpus || node < 0 || w->file[node].gpu != g)
			return fault(f, EINVAL, "GPU %#x", o->devices[i].actual_gpu_id);
		if (w->file[node].vm_taken)
			return fault(f, EBUSY, "node of GPU %#x", o->devices[i].actual_gpu_id);
		w->file[node].vm_taken = true;
		p->user_id[g] = o->devices[i].user_gpu_id;
		p->vm[g] = node;
	}
	return 0;
}

static int restore_bos(struct fake *w, struct process *p, struct kfd_order *o, struct fault *f)
{
	uint32_t i;
	size_t g;

	for (i = 0; i < o->args.num_bos; i++) {
		struct kfd_bo_bucket *b = &o->bos[i];
		struct kbo *k;

		for (g = 0; g < w->ngpus && p->user_id[g] != b->gpu_id; g++)
			;
		if (g == w->ngpus)
			return fault(f, EINVAL, "buffer on GPU %#x", b->gpu_id);
		k = kbo_new(w, p, g, b->addr, b->size, b->alloc_flags);
		b->restored_offset = k->offset;
		if (k->bo)
			b->dmabuf_fd = fcntl(k->bo->fd, F_DUPFD_CLOEXEC, 0);
	}
	return 0;
}

static int check_priv(const struct fake *w, const struct process *p, const struct kfd_order *o,
		      struct fault *f)
{
	if (o->args.priv_data_size == priv_size(p, w->ngpus))
		return 0;
	return fault(f, EINVAL, "state of %llu bytes", (unsigned long long)o->args.priv_data_size);
}

static int f_kfd_restore(void *ctx, struct kfd_order *o, struct fault *f)
{
	struct fake *w = ctx;
	struct process *p;
	uint32_t i;
	int fd;

	if (failing(w))
		return fault(f, errno, "restore KFD");
	if (process_by_pid(w, o->pid))
		return fault(f, EINVAL, "task %d has a KFD process", o->pid);
	p = grow(&w->process, w->nprocesses++, &w->processes_cap, sizeof(*p));
	p->pid = o->pid;
	p->objects = o->args.num_objects;
	p->blocked = o->args.num_devices > 0;
	for (i = 0; i < o->args.num_bos; i++)
		o->bos[i].dmabuf_fd = KFD_NO_DMABUF;
	if (o->args.num_devices && (restore_devices(w, p, o, f) < 0 ||
				    restore_bos(w, p, o, f) < 0 || check_priv(w, p, o, f) < 0)) {
		for (i = 0; i < o->args.num_bos; i++)
			if (o->bos[i].dmabuf_fd != KFD_NO_DMABUF)
				close(o->bos[i].dmabuf_fd);
		return -1;
	}
	fd = memfd_create("kfd", MFD_CLOEXEC);
	p->ino = ino_of(fd);
	return fd;
}

/* ---- the table of functions ---- */

static int f_open(void *ctx, const char *path, int flags)
{
	struct fake *w = ctx;
	unsigned int minor;
	int fd;

	(void)flags;
	if (failing(w))
		return -1;
	if (strcmp(path, "/dev/kfd") == 0)
		return memfd_create("kfd", MFD_CLOEXEC);
	if (sscanf(path, "/dev/dri/renderD%u", &minor) != 1)
		return no(ENOENT);
	fd = fake_open(w, minor);
	return fd < 0 ? no(ENOENT) : fd;
}

static int f_ioctl(void *ctx, int fd, unsigned long nr, void *arg)
{
	struct fake *w = ctx;
	struct file *f;
	int r;

	if (failing(w))
		return -1;
	pthread_mutex_lock(&w->lock);
	f = file_by_ino(w, ino_of(fd));
	if (nr == IOC_DMABUF_SYNC)
		r = bo_by_ino(w, ino_of(fd)) ? 0 : no(ENOTTY);
	else
		r = f ? node_ioctl(w, f, nr, arg) : kfd_ioctl(w, nr, arg);
	pthread_mutex_unlock(&w->lock);
	return r;
}

static bool may_map(struct fake *w, const struct file *f, const struct bo *b)
{
	uint32_t h;

	for (h = 1; h < f->nhandles; h++)
		if (f->handle[h] == b)
			return true;
	return b->vm_of == f - w->file;
}

/* A node's offset: the buffer, checked as DRM does. */
static struct bo *bo_at(struct fake *w, const struct file *f, uint64_t *offset)
{
	struct bo *b = NULL;
	size_t i;

	for (i = 0; i < SLOTS; i++)
		for (b = w->slot[i]; b; b = b->next)
			if (b->gpu == f->gpu && *offset >= b->offset &&
			    *offset - b->offset < b->size) {
				*offset -= b->offset;
				return b;
			}
	return NULL;
}

static void *f_mmap(void *ctx, size_t n, int prot, int flags, int fd, uint64_t offset)
{
	struct fake *w = ctx;
	struct file *f;
	struct bo *b;
	int err = 0;

	if (failing(w))
		return MAP_FAILED;
	pthread_mutex_lock(&w->lock);
	f = file_by_ino(w, ino_of(fd));
	b = f ? bo_at(w, f, &offset) : bo_by_ino(w, ino_of(fd));
	if (!b)
		err = EINVAL;
	else if (f && !may_map(w, f, b))
		err = EACCES;
	else if (b->flags & U_NO_CPU_ACCESS ||
		 (w->ways.invisible_vram && b->domains & U_DOMAIN_VRAM))
		err = EPERM;
	pthread_mutex_unlock(&w->lock);
	if (err) {
		errno = err;
		return MAP_FAILED;
	}
	return mmap(NULL, n, prot, flags, b->fd, offset);
}

static int f_munmap(void *ctx, void *p, size_t n)
{
	(void)ctx;
	return munmap(p, n);
}

static int f_fstat(void *ctx, int fd, struct stat *st)
{
	struct fake *w = ctx;
	const struct file *f;

	if (failing(w) || fstat(fd, st) < 0)
		return -1;
	pthread_mutex_lock(&w->lock);
	f = file_by_ino(w, st->st_ino);
	if (bo_by_ino(w, st->st_ino)) {
		st->st_mode = w->ways.regular_dmabuf ? S_IFREG | 0600 : 0600;
	} else if (f || process_by_ino(w, st->st_ino)) {
		st->st_mode = S_IFCHR | 0660;
		st->st_rdev = f ? makedev(DRM_MAJOR, w->gpu[f->gpu].minor)
				: makedev(FAKE_KFD_MAJOR, 0);
	}
	pthread_mutex_unlock(&w->lock);
	return 0;
}

static long f_fs_type(void *ctx, int fd)
{
	struct fake *w = ctx;

	return bo_by_ino(w, ino_of(fd)) ? DMABUF_FS : 0x01021994;
}

static int f_dup(void *ctx, int fd)
{
	return failing(ctx) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int f_close(void *ctx, int fd)
{
	(void)ctx;
	return close(fd);
}

static ssize_t node_text(struct fake *w, unsigned int node, const char *what, char *buf,
			 size_t size)
{
	const struct fake_gpu *g = node ? &w->gpu[node - 1] : NULL;
	unsigned int part, to;

	if (strcmp(what, "gpu_id") == 0)
		return snprintf(buf, size, "%u\n", g ? g->gpu_id : 0);
	if (strcmp(what, "properties") == 0)
		return snprintf(
			buf, size,
			"cpu_cores_count %u\nsimd_count %u\nmem_banks_count 1\nvendor_id 4098\n"
			"device_id 26273\ndrm_render_minor %u\nhive_id %d\n",
			g ? 0 : 4, g ? 240 : 0, g ? g->minor : 0, g && g->xgmi);
	if (sscanf(what, "mem_banks/%u", &part) == 1)
		return snprintf(buf, size, "heap_type 1\nsize_in_bytes %llu\n",
				g ? (unsigned long long)g->vram : 0);
	if (sscanf(what, "io_links/%u", &part) != 1)
		return no(ENOENT);
	to = part < node ? part : part + 1;
	return snprintf(buf, size, "type %u\nnode_from %u\nnode_to %u\n",
			g && to && g->xgmi && w->gpu[to - 1].xgmi ? 11 : 2, node, to);
}

static ssize_t f_read_text(void *ctx, const char *path, char *buf, size_t size)
{
	struct fake *w = ctx;
	char what[64];
	unsigned int n;

	if (failing(w))
		return -1;
	if (strcmp(path, "/sys/class/kfd/kfd/dev") == 0)
		return snprintf(buf, size, "%d:0\n", FAKE_KFD_MAJOR);
	if (sscanf(path, "/proc/self/fdinfo/%u", &n) == 1)
		return snprintf(buf, size, "pos:\t0\n%s\n",
				bo_by_ino(w, ino_of(n)) ? "exp_name:\tdrm" : "drm-driver:\tamdgpu");
	if (sscanf(path, ROOT "/%u/%63s", &n, what) == 2 && n <= w->ngpus)
		return node_text(w, n, what, buf, size);
	return no(ENOENT);
}

static int f_list(void *ctx, const char *path, char ***names)
{
	struct fake *w = ctx;
	unsigned int n, i, count = w->ngpus + 1;
	char what[64];

	*names = NULL;
	if (failing(w))
		return -1;
	if (sscanf(path, ROOT "/%u/%63s", &n, what) == 2)
		count = strcmp(what, "mem_banks") == 0 ? 1 : w->ngpus;
	else if (strcmp(path, ROOT) != 0)
		return no(ENOENT);
	*names = xcalloc(count + 1, sizeof(char *));
	for (i = 0; i < count; i++)
		(*names)[i] = xasprintf("%u", i);
	return count;
}

struct engine {
	size_t staging;
};

static struct engine *f_engine_open(void *ctx, int drm_fd, size_t staging, struct fault *f)
{
	struct fake *w = ctx;
	struct engine *e;

	(void)drm_fd;
	if (w->ways.no_engine || failing(w)) {
		fault(f, w->ways.no_engine ? ENOSYS : errno, "no engine");
		return NULL;
	}
	e = xcalloc(1, sizeof(*e));
	e->staging = staging;
	return e;
}

static int f_engine_copy(void *ctx, struct engine *e, int dmabuf, uint64_t size, bool to_gpu,
			 const struct copy_ends *ends, struct fault *f)
{
	struct fake *w = ctx;
	unsigned char *p;
	uint64_t at;
	size_t n;
	int r = 0;

	if (w->ways.engine_fails || failing(w))
		return fault(f, EIO, "the engine fails");
	(void)to_gpu;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
	if (p == MAP_FAILED)
		return fault(f, errno, "the fake's mapping");
	for (at = 0; at < size && r == 0; at += n) {
		n = size - at < e->staging ? size - at : e->staging;
		r = ends->move(ends->ctx, p + at, n, f);
	}
	munmap(p, size);
	pthread_mutex_lock(&w->lock);
	w->engine_bytes += size;
	pthread_mutex_unlock(&w->lock);
	return r;
}

static void f_engine_close(void *ctx, struct engine *e)
{
	(void)ctx;
	free(e);
}

static const struct device_ops fake_ops = {
	.open = f_open,
	.ioctl = f_ioctl,
	.mmap = f_mmap,
	.munmap = f_munmap,
	.fstat = f_fstat,
	.fs_type = f_fs_type,
	.dup = f_dup,
	.close = f_close,
	.read_text = f_read_text,
	.list = f_list,
	.kfd_restore = f_kfd_restore,
	.engine_open = f_engine_open,
	.engine_copy = f_engine_copy,
	.engine_close = f_engine_close,
};

/* ---- the world ---- */

struct fake *fake_new(const struct fake_gpu *gpus, size_t n, const struct fake_ways *ways)
{
	struct fake *w = xcalloc(1, sizeof(*w));
	size_t i;

	memcpy(w->gpu, gpus, n * sizeof(*gpus));
	w->ngpus = n;
	if (ways)
		w->ways = *ways;
	pthread_mutex_init(&w->lock, NULL);
	for (i = 0; i < n; i++)
		w->next_offset[i] = FIRST_OFFSET + i * 0x1000;
	return w;
}

void fake_free(struct fake *w)
{
	struct bo *b, *next;
	size_t i;

	for (i = 0; i < SLOTS; i++)
		for (b = w->slot[i]; b; b = next) {
			next = b->next;
			close(b->fd);
			free(b);
		}
	for (i = 0; i < w->nfiles; i++) {
		free(w->file[i].handle);
		free(w->file[i].va);
	}
	for (i = 0; i < w->nprocesses; i++)
		free(w->process[i].kbo);
	free(w->file);
	free(w->process);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

struct device fake_device(struct fake *w)
{
	return (struct device){ &fake_ops, w };
}

uint64_t fake_calls(const struct fake *w)
{
	return w->calls;
}

void fake_fail(struct fake *w, uint64_t n, int err)
{
	w->fail_at = n ? w->calls + n : 0;
	w->fail_errno = err;
}

uint64_t fake_engine_bytes(const struct fake *w)
{
	return w->engine_bytes;
}

/* ---- programs ---- */

int fake_open(struct fake *w, uint32_t minor)
{
	struct file *f;
	size_t i;
	int fd;

	for (i = 0; i < w->ngpus && w->gpu[i].minor != minor; i++)
		;
	if (i == w->ngpus)
		return -1;
	fd = memfd_create("node", MFD_CLOEXEC);
	pthread_mutex_lock(&w->lock);
	f = grow(&w->file, w->nfiles++, &w->files_cap, sizeof(*f));
	f->ino = ino_of(fd);
	f->gpu = i;
	pthread_mutex_unlock(&w->lock);
	return fd;
}

static struct file *node(struct fake *w, int fd)
{
	struct file *f = file_by_ino(w, ino_of(fd));

	if (!f)
		die("descriptor %d is no node of the fake", fd);
	return f;
}

uint32_t fake_create(struct fake *w, int fd, uint64_t size, uint32_t domains, uint64_t flags)
{
	union u_gem_create q = { .in = { size, 4096, domains, flags } };

	return do_create(w, node(w, fd), &q) < 0 ? 0 : q.out.handle;
}

uint32_t fake_userptr(struct fake *w, int fd, uint64_t size)
{
	uint32_t h = fake_create(w, fd, size, U_DOMAIN_GTT, 0);

	node(w, fd)->handle[h]->userptr = true;
	return h;
}

int fake_close_handle(struct fake *w, int fd, uint32_t handle)
{
	return do_close(w, node(w, fd), &(struct u_gem_close){ handle, 0 });
}

int fake_map(struct fake *w, int fd, uint32_t handle, uint64_t va, uint64_t offset, uint64_t size)
{
	return do_va(node(w, fd), &(struct u_gem_va){ handle, 0, U_VA_MAP, 0xe, va, offset, size });
}

int fake_export(struct fake *w, int fd, uint32_t handle)
{
	struct u_prime q = { .handle = handle };

	return do_export(node(w, fd), &q) < 0 ? -1 : q.fd;
}

uint32_t fake_import(struct fake *w, int fd, int dmabuf)
{
	struct u_prime q = { .fd = dmabuf };

	return do_import(w, node(w, fd), &q) < 0 ? 0 : q.handle;
}

void fake_add_context(struct fake *w, int fd)
{
	node(w, fd)->contexts++;
}

uint64_t fake_offset(struct fake *w, int fd, uint32_t handle)
{
	return bo_of(node(w, fd), handle)->offset;
}

uint64_t fake_key(struct fake *w, int fd, uint32_t handle)
{
	const struct bo *b = bo_of(node(w, fd), handle);

	return b ? b->ino : 0;
}

uint64_t fake_size(struct fake *w, int fd, uint32_t handle)
{
	return bo_of(node(w, fd), handle)->size;
}

unsigned char *fake_bytes(struct fake *w, int fd, uint32_t handle)
{
	const struct bo *b = bo_of(node(w, fd), handle);

	return b ? mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0) : MAP_FAILED;
}

char *fake_table(struct fake *w, int fd)
{
	const struct file *f = node(w, fd);
	char *text = xstrdup(""), *more;
	uint32_t h;
	size_t i;

	for (h = 1; h < f->nhandles; h++) {
		const struct bo *b = f->handle[h];

		if (!b)
			continue;
		more = xasprintf("%s%u:%llx,%llx,%llx,%llx ", text, h, (unsigned long long)b->size,
				 (unsigned long long)b->domains, (unsigned long long)b->flags,
				 (unsigned long long)b->tiling);
		free(text);
		text = more;
		for (i = 0; i < f->nva; i++) {
			if (f->va[i].handle != h)
				continue;
			more = xasprintf("%s@%llx+%llx/%llx ", text,
					 (unsigned long long)f->va[i].va,
					 (unsigned long long)f->va[i].size,
					 (unsigned long long)f->va[i].offset);
			free(text);
			text = more;
		}
	}
	return text;
}

uint32_t fake_minor(struct fake *w, int fd)
{
	return w->gpu[node(w, fd)->gpu].minor;
}

int fake_kfd_open(struct fake *w, pid_t pid, const int *vm, uint32_t objects)
{
	struct process *p = grow(&w->process, w->nprocesses++, &w->processes_cap, sizeof(*p));
	int fd = memfd_create("kfd", MFD_CLOEXEC);
	size_t i;

	p->pid = pid;
	p->ino = ino_of(fd);
	p->objects = objects;
	for (i = 0; i < w->ngpus; i++) {
		p->user_id[i] = w->gpu[i].gpu_id;
		p->vm[i] = node_index(w, vm[i]);
		w->file[p->vm[i]].vm_taken = true;
	}
	return fd;
}

int fake_kfd_bo(struct fake *w, pid_t pid, size_t gpu, uint64_t va, uint64_t size, uint32_t flags,
		uint64_t *offset)
{
	struct kbo *k = kbo_new(w, process_by_pid(w, pid), gpu, va, size, flags);

	if (offset)
		*offset = k->offset;
	return k->bo ? fcntl(k->bo->fd, F_DUPFD_CLOEXEC, 0) : -1;
}

int fake_trace(struct fake *w, pid_t pid, GpuTraced *out, int **fds)
{
	const struct process *p = process_by_pid(w, pid);
	struct kfd_bo_bucket *b;
	size_t i;

	out->pid = pid;
	out->num_devices = w->ngpus;
	out->num_bos = p->n;
	out->num_objects = p->objects;
	out->devices.len = w->ngpus * sizeof(struct kfd_device_bucket);
	out->devices.data = xcalloc(1, out->devices.len + 1);
	out->bos.len = p->n * sizeof(*b);
	out->bos.data = xcalloc(1, out->bos.len + 1);
	out->priv_data.len = priv_size(p, w->ngpus);
	out->priv_data.data = xcalloc(1, out->priv_data.len);
	b = (void *)out->bos.data;
	buckets(w, p, (void *)out->devices.data, b, out->priv_data.data);
	*fds = xcalloc(p->n + 1, sizeof(int));
	for (i = 0; i < p->n; i++)
		if (b[i].dmabuf_fd != KFD_NO_DMABUF)
			(*fds)[out->nfds++] = b[i].dmabuf_fd;
	return 0;
}

bool fake_resumed(struct fake *w, pid_t pid)
{
	const struct process *p = process_by_pid(w, pid);

	return p && p->resumed;
}

uint32_t fake_kfd_bos(struct fake *w, pid_t pid)
{
	const struct process *p = process_by_pid(w, pid);

	return p ? p->n : 0;
}

static const struct bo *kfd_bo_at(struct fake *w, pid_t pid, uint64_t va)
{
	const struct process *p = process_by_pid(w, pid);
	size_t i;

	for (i = 0; p && i < p->n; i++)
		if (p->kbo[i].va == va)
			return p->kbo[i].bo;
	return NULL;
}

unsigned char *fake_kfd_bytes(struct fake *w, pid_t pid, uint64_t va)
{
	const struct bo *b = kfd_bo_at(w, pid, va);

	return b ? mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0) : MAP_FAILED;
}

uint64_t fake_kfd_key(struct fake *w, pid_t pid, uint64_t va)
{
	const struct bo *b = kfd_bo_at(w, pid, va);

	return b ? b->ino : 0;
}

size_t fake_open_fds(void)
{
	AUTO_CLOSEDIR DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (d && readdir(d))
		n++;
	return n;
}
