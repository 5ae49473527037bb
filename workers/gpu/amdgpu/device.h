/* SPDX-License-Identifier: MIT */
/*
 * device.h - all that this driver does to devices goes through one table of functions. device.c has
 * the one that asks the kernel; tests/fake/device.c is a model of it.
 *
 * Functions answer as the system calls: -1 with errno. Descriptors are real ones in both.
 */
#ifndef STASIS_AMDGPU_DEVICE_H
#define STASIS_AMDGPU_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "proto/control/kfd_criu.h"

struct gate;

/* What a task does for us: open /dev/kfd and have KFD rebuild its process. */
struct kfd_order {
	pid_t pid;
	struct gate *gate;
	int spare_fd;			/* from here on the task uses no numbers now */
	struct kfd_criu_args args;	/* counts; the pointers lead here: */
	struct kfd_device_bucket *devices;	/* drm_fd: of this process */
	struct kfd_bo_bucket *bos;	/* in/out: restored_offset, dmabuf_fd of this process */
	const uint8_t *priv_data;
};

/* One side of copying a buffer by the GPU's engine. Opaque: sdma.c, or the fake's. */
struct engine;

/* Read (into the GPU) or take (from it) n bytes at `at` of the contents. 0 or -1 with f set. */
struct copy_ends {
	int (*move)(void *ctx, void *bytes, size_t n, struct fault *f);
	void *ctx;
};

struct device_ops {
	int (*open)(void *ctx, const char *path, int flags);
	int (*ioctl)(void *ctx, int fd, unsigned long nr, void *arg);
	void *(*mmap)(void *ctx, size_t n, int prot, int flags, int fd, uint64_t offset);
	int (*munmap)(void *ctx, void *p, size_t n);
	int (*fstat)(void *ctx, int fd, struct stat *st);
	long (*fs_type)(void *ctx, int fd);	/* statfs f_type */
	int (*dup)(void *ctx, int fd);
	int (*close)(void *ctx, int fd);
	/* A small text file whole, NUL-terminated; its length. */
	ssize_t (*read_text)(void *ctx, const char *path, char *buf, size_t size);
	/* Names in a directory, the caller frees the list and each. */
	int (*list)(void *ctx, const char *path, char ***names);
	/* Returns the kfd file, the caller's. dmabuf_fd of every bucket that has one is too. */
	int (*kfd_restore)(void *ctx, struct kfd_order *o, struct fault *f);
	/* An engine of the GPU behind a private open of its node. NULL with f set; f->code ENOSYS:
	 * no library. */
	struct engine *(*engine_open)(void *ctx, int drm_fd, size_t staging, struct fault *f);
	int (*engine_copy)(void *ctx, struct engine *e, int dmabuf, uint64_t size, bool to_gpu,
			   const struct copy_ends *ends, struct fault *f);
	void (*engine_close)(void *ctx, struct engine *e);
};

struct device {
	const struct device_ops *ops;
	void *ctx;
};

extern const struct device_ops kernel_device;

static inline int dev_open(const struct device *d, const char *path, int flags)
{
	return d->ops->open(d->ctx, path, flags);
}

static inline int dev_ioctl(const struct device *d, int fd, unsigned long nr, void *arg)
{
	return d->ops->ioctl(d->ctx, fd, nr, arg);
}

static inline int dev_close(const struct device *d, int fd)
{
	return fd < 0 ? 0 : d->ops->close(d->ctx, fd);
}

static inline int dev_dup(const struct device *d, int fd)
{
	return d->ops->dup(d->ctx, fd);
}

enum device_kind {
	DEVICE_OTHER,
	DEVICE_KFD,
	DEVICE_RENDER,
	DEVICE_PRIMARY,			/* /dev/dri/cardN of amdgpu */
	DEVICE_DMABUF,
};

struct device_id {
	enum device_kind kind;
	uint32_t minor;			/* of a render node */
	uint64_t inode;			/* of a dmabuf: which buffer it is */
	uint64_t size;
};

/* The major number of /dev/kfd, by the sysfs; -1: there is none here. */
int kfd_major(const struct device *d);
/* What is fd? Nodes of other drivers than amdgpu are DEVICE_OTHER. */
int device_classify(const struct device *d, int fd, int kfd_major_nr, struct device_id *id,
		    struct fault *f);
/* The value of "key:" in our fdinfo of fd; false: it has no such line. */
bool device_fdinfo(const struct device *d, int fd, const char *key, char *value, size_t size);
/* Which buffer is this dmabuf? 0, or -1. */
int device_dmabuf(const struct device *d, int fd, struct device_id *id, struct fault *f);

#endif
