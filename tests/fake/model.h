/* SPDX-License-Identifier: MIT */
/*
 * model.h - the state behind tests/fake/gpu.h, and what its parts share: look-ups (model.c),
 * ioctls of render nodes (node.c), KFD (kfd.c), the table of functions (device.c). Those that can
 * fail return -1 with errno set; look-ups return NULL.
 */
#ifndef STASIS_FAKE_MODEL_H
#define STASIS_FAKE_MODEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/fake/gpu.h"
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

/* model.c */
/* Count a call; is it the one that fails? errno is set. */
bool model_failing(struct fake *w);
/* 0: no open descriptor. */
ino_t model_ino_of(int fd);
struct bo *model_bo_by_ino(struct fake *w, ino_t ino);
struct file *model_file_by_ino(struct fake *w, ino_t ino);
struct process *model_process_by_ino(struct fake *w, ino_t ino);
struct process *model_process_by_pid(struct fake *w, pid_t pid);
/* A buffer of the model, freed by fake_free. */
struct bo *model_bo_new(struct fake *w, size_t gpu, uint64_t size);
struct bo *model_bo_of(struct file *f, uint32_t handle);
/* The lowest free number, as the kernel. */
uint32_t model_handle_new(struct file *f, struct bo *b);
/* -1 with errno. */
int model_no(int err);

/* node.c */
int model_create(struct fake *w, struct file *f, union u_gem_create *q);
int model_close(struct fake *w, struct file *f, const struct u_gem_close *q);
int model_va(struct file *f, const struct u_gem_va *q);
int model_export(struct file *f, struct u_prime *q);
int model_import(struct fake *w, struct file *f, struct u_prime *q);
int model_node_ioctl(struct fake *w, struct file *f, unsigned long nr, void *arg);

/* kfd.c */
size_t model_priv_size(const struct process *p, size_t ngpus);
void model_buckets(const struct fake *w, const struct process *p, struct kfd_device_bucket *d,
		   struct kfd_bo_bucket *b, uint8_t *priv);
int model_kfd_ioctl(struct fake *w, unsigned long nr, void *arg);
int64_t model_node_index(struct fake *w, int fd);
struct kbo *model_kbo_new(struct fake *w, struct process *p, size_t gpu, uint64_t va,
			  uint64_t size, uint32_t flags);
int model_kfd_restore(void *ctx, struct kfd_order *o, struct fault *f);

/* device.c */
extern const struct device_ops model_ops;

#endif
