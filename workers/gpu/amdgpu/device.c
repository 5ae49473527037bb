/* SPDX-License-Identifier: MIT */
/*
 * device.c - the table of functions that asks the kernel, and what an open file is.
 *
 * Rights:   those to open device nodes.
 * Holds:    nothing.
 */
#include "workers/gpu/amdgpu/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/kfd_gate.h"
#include "workers/gpu/amdgpu/sdma.h"
#include "workers/gpu/amdgpu/uapi.h"

#define KFD_DEV "/sys/class/kfd/kfd/dev"

static int k_open(void *ctx, const char *path, int flags)
{
	(void)ctx;
	return open(path, flags);
}

/* The GPU drivers answer EINTR and EAGAIN for "again", as libdrm takes them. */
static int k_ioctl(void *ctx, int fd, unsigned long nr, void *arg)
{
	int r;

	(void)ctx;
	do
		r = ioctl(fd, nr, arg);
	while (r < 0 && (errno == EINTR || errno == EAGAIN));
	return r;
}

static void *k_mmap(void *ctx, size_t n, int prot, int flags, int fd, uint64_t offset)
{
	(void)ctx;
	return mmap(NULL, n, prot, flags, fd, (off_t)offset);
}

static int k_munmap(void *ctx, void *p, size_t n)
{
	(void)ctx;
	return munmap(p, n);
}

static int k_fstat(void *ctx, int fd, struct stat *st)
{
	(void)ctx;
	return fstat(fd, st);
}

static long k_fs_type(void *ctx, int fd)
{
	struct statfs s;

	(void)ctx;
	return fstatfs(fd, &s) < 0 ? -1 : s.f_type;
}

static int k_dup(void *ctx, int fd)
{
	(void)ctx;
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int k_close(void *ctx, int fd)
{
	(void)ctx;
	return close(fd);
}

static ssize_t k_read_text(void *ctx, const char *path, char *buf, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	(void)ctx;
	if (fd < 0)
		return -1;
	n = read_full(fd, buf, size - 1);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

static int k_list(void *ctx, const char *path, char ***names)
{
	AUTO_CLOSEDIR DIR *d = opendir(path);
	const struct dirent *e;
	size_t n = 0, cap = 0;

	(void)ctx;
	*names = NULL;
	if (!d)
		return -1;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			*(char **)grow(names, n++, &cap, sizeof(char *)) = xstrdup(e->d_name);
	return n;
}

const struct device_ops kernel_device = {
	.open = k_open,
	.ioctl = k_ioctl,
	.mmap = k_mmap,
	.munmap = k_munmap,
	.fstat = k_fstat,
	.fs_type = k_fs_type,
	.dup = k_dup,
	.close = k_close,
	.read_text = k_read_text,
	.list = k_list,
	.kfd_restore = kfd_gate_restore,
	.engine_open = sdma_open,
	.engine_copy = sdma_copy,
	.engine_close = sdma_close,
};

int kfd_major(const struct device *d)
{
	char text[4096], *line;
	int nr;

	if (d->ops->read_text(d->ctx, KFD_DEV, text, sizeof(text)) > 0 &&
	    sscanf(text, "%d:", &nr) == 1)
		return nr;
	if (d->ops->read_text(d->ctx, "/proc/devices", text, sizeof(text)) <= 0)
		return -1;
	line = strstr(text, " kfd\n");
	if (!line)
		return -1;
	while (line > text && line[-1] != '\n')
		line--;
	return sscanf(line, "%d", &nr) == 1 ? nr : -1;
}

bool device_fdinfo(const struct device *d, int fd, const char *key, char *value, size_t size)
{
	char path[40], text[4096], *line, *end;
	size_t n = strlen(key);

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (d->ops->read_text(d->ctx, path, text, sizeof(text)) <= 0)
		return false;
	for (line = text; line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		if (strncmp(line, key, n) == 0 && line[n] == ':') {
			snprintf(value, size, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
			return true;
		}
	}
	return false;
}

int device_dmabuf(const struct device *d, int fd, struct device_id *id, struct fault *f)
{
	struct stat st;

	if (d->ops->fstat(d->ctx, fd, &st) < 0)
		return fault(f, errno, "look at a dmabuf");
	id->kind = DEVICE_DMABUF;
	id->inode = st.st_ino;
	id->size = st.st_size;
	return 0;
}

/* dmabufs first: their st_mode has no type, or that of a regular file (Linux 6.15 and later). */
int device_classify(const struct device *d, int fd, int kfd_major_nr, struct device_id *id,
		    struct fault *f)
{
	char driver[32];
	struct stat st;

	*id = (struct device_id){ .kind = DEVICE_OTHER };
	if (d->ops->fs_type(d->ctx, fd) == DMABUF_FS)
		return device_dmabuf(d, fd, id, f);
	if (d->ops->fstat(d->ctx, fd, &st) < 0)
		return fault(f, errno, "look at a device");
	if (!S_ISCHR(st.st_mode))
		return 0;
	if (kfd_major_nr >= 0 && (int)major(st.st_rdev) == kfd_major_nr && minor(st.st_rdev) == 0)
		id->kind = DEVICE_KFD;
	else if (major(st.st_rdev) == DRM_MAJOR &&
		 device_fdinfo(d, fd, "drm-driver", driver, sizeof(driver)) &&
		 strcmp(driver, "amdgpu") == 0)
		id->kind = minor(st.st_rdev) >= DRM_RENDER_MINOR ? DEVICE_RENDER : DEVICE_PRIMARY;
	id->minor = minor(st.st_rdev);
	return 0;
}
