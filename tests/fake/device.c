/* SPDX-License-Identifier: MIT */
/*
 * device.c - the table of functions through which the driver reaches devices.
 *
 * Holds:    nothing of its own: struct fake.
 */
#include "tests/fake/model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/control/util.h"

static int f_open(void *ctx, const char *path, int flags)
{
	struct fake *w = ctx;
	unsigned int minor;
	int fd;

	(void)flags;
	if (model_failing(w))
		return -1;
	if (strcmp(path, "/dev/kfd") == 0)
		return memfd_create("kfd", MFD_CLOEXEC);
	if (sscanf(path, "/dev/dri/renderD%u", &minor) != 1)
		return model_no(ENOENT);
	fd = fake_open(w, minor);
	return fd < 0 ? model_no(ENOENT) : fd;
}

static int f_ioctl(void *ctx, int fd, unsigned long nr, void *arg)
{
	struct fake *w = ctx;
	struct file *f;
	int r;

	if (model_failing(w))
		return -1;
	pthread_mutex_lock(&w->lock);
	f = model_file_by_ino(w, model_ino_of(fd));
	if (nr == IOC_DMABUF_SYNC)
		r = model_bo_by_ino(w, model_ino_of(fd)) ? 0 : model_no(ENOTTY);
	else
		r = f ? model_node_ioctl(w, f, nr, arg) : model_kfd_ioctl(w, nr, arg);
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

	if (model_failing(w))
		return MAP_FAILED;
	pthread_mutex_lock(&w->lock);
	f = model_file_by_ino(w, model_ino_of(fd));
	b = f ? bo_at(w, f, &offset) : model_bo_by_ino(w, model_ino_of(fd));
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

	if (model_failing(w) || fstat(fd, st) < 0)
		return -1;
	pthread_mutex_lock(&w->lock);
	f = model_file_by_ino(w, st->st_ino);
	if (model_bo_by_ino(w, st->st_ino)) {
		st->st_mode = w->ways.regular_dmabuf ? S_IFREG | 0600 : 0600;
	} else if (f || model_process_by_ino(w, st->st_ino)) {
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

	return model_bo_by_ino(w, model_ino_of(fd)) ? DMABUF_FS : 0x01021994;
}

static int f_dup(void *ctx, int fd)
{
	return model_failing(ctx) ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
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
		return model_no(ENOENT);
	to = part < node ? part : part + 1;
	return snprintf(buf, size, "type %u\nnode_from %u\nnode_to %u\n",
			g && to && g->xgmi && w->gpu[to - 1].xgmi ? 11 : 2, node, to);
}

static ssize_t f_read_text(void *ctx, const char *path, char *buf, size_t size)
{
	struct fake *w = ctx;
	char what[64];
	unsigned int n;

	if (model_failing(w))
		return -1;
	if (strcmp(path, "/sys/class/kfd/kfd/dev") == 0)
		return snprintf(buf, size, "%d:0\n", FAKE_KFD_MAJOR);
	if (sscanf(path, "/proc/self/fdinfo/%u", &n) == 1)
		return snprintf(buf, size, "pos:\t0\n%s\n",
				model_bo_by_ino(w, model_ino_of(n)) ? "exp_name:\tdrm" :
								      "drm-driver:\tamdgpu");
	if (sscanf(path, ROOT "/%u/%63s", &n, what) == 2 && n <= w->ngpus)
		return node_text(w, n, what, buf, size);
	return model_no(ENOENT);
}

static int f_list(void *ctx, const char *path, char ***names)
{
	struct fake *w = ctx;
	unsigned int n, i, count = w->ngpus + 1;
	char what[64];

	*names = NULL;
	if (model_failing(w))
		return -1;
	if (sscanf(path, ROOT "/%u/%63s", &n, what) == 2)
		count = strcmp(what, "mem_banks") == 0 ? 1 : w->ngpus;
	else if (strcmp(path, ROOT) != 0)
		return model_no(ENOENT);
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
	if (w->ways.no_engine || model_failing(w)) {
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

	if (w->ways.engine_fails || model_failing(w))
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

const struct device_ops model_ops = {
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
	.kfd_restore = model_kfd_restore,
	.engine_open = f_engine_open,
	.engine_copy = f_engine_copy,
	.engine_close = f_engine_close,
};
