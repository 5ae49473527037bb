/* SPDX-License-Identifier: MIT */
/*
 * gpu.h - a machine with AMD GPUs, in memory: what the kernel's drivers keep, and what they refuse.
 *
 * Every file and buffer is a memfd, so descriptors, their numbers, mappings and inode numbers are
 * real; the model knows by inode what one stands for. It keeps: handle tables per open file (lowest
 * free number), dmabuf identities, GPU address spaces (no overlap), who may map what, KFD
 * processes. Any call can be made to fail.
 */
#ifndef STASIS_FAKE_GPU_H
#define STASIS_FAKE_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control/control.pb-c.h"
#include "workers/gpu/amdgpu/device.h"

#define FAKE_GPUS 8
#define FAKE_KFD_MAJOR 245

struct fake_gpu {
	uint32_t gpu_id, minor;
	bool xgmi;			/* linked to all other such, both ways */
	uint64_t vram;
};

/* What this machine's kernel has, and does. Set before use. */
struct fake_ways {
	bool no_list;			/* before 6.18 */
	bool no_contexts;		/* the call is not known: fewer calls */
	bool invisible_vram;		/* VRAM cannot be mapped */
	bool mapping_enoent;		/* hardened kernels: of unmapped buffers */
	bool no_engine;			/* no libdrm */
	bool engine_fails;		/* every copy */
	bool regular_dmabuf;		/* st_mode of Linux 6.15 */
	uint32_t kfd_minor;		/* 0: as needed */
};

struct fake;

struct fake *fake_new(const struct fake_gpu *gpus, size_t n, const struct fake_ways *ways);
void fake_free(struct fake *w);
struct device fake_device(struct fake *w);
/* Calls made so far; the n-th from now on fails with err (n 0: none). */
uint64_t fake_calls(const struct fake *w);
void fake_fail(struct fake *w, uint64_t n, int err);
uint64_t fake_engine_bytes(const struct fake *w);

/* ---- programs ---- */

int fake_open(struct fake *w, uint32_t minor);
/* Handle, 0: refused (errno). */
uint32_t fake_create(struct fake *w, int fd, uint64_t size, uint32_t domains, uint64_t flags);
uint32_t fake_userptr(struct fake *w, int fd, uint64_t size);
int fake_close_handle(struct fake *w, int fd, uint32_t handle);
int fake_map(struct fake *w, int fd, uint32_t handle, uint64_t va, uint64_t offset, uint64_t size);
/* dmabuf, or handle. */
int fake_export(struct fake *w, int fd, uint32_t handle);
uint32_t fake_import(struct fake *w, int fd, int dmabuf);
void fake_add_context(struct fake *w, int fd);
uint64_t fake_offset(struct fake *w, int fd, uint32_t handle);
uint64_t fake_key(struct fake *w, int fd, uint32_t handle);
/* The contents of a buffer, size bytes; munmap is the caller's. */
unsigned char *fake_bytes(struct fake *w, int fd, uint32_t handle);
uint64_t fake_size(struct fake *w, int fd, uint32_t handle);
/* "1:own 2:- 3:import ..." and mappings, for comparison; the caller frees. */
char *fake_table(struct fake *w, int fd);
/* The minor of the node that fd is. */
uint32_t fake_minor(struct fake *w, int fd);

/* A KFD process of task pid: returns its /dev/kfd. vm: a node for each GPU. */
int fake_kfd_open(struct fake *w, pid_t pid, const int *vm, uint32_t objects);
/* Returns a dmabuf of it, -1 for those without. offset: for mmap. */
int fake_kfd_bo(struct fake *w, pid_t pid, size_t gpu, uint64_t va, uint64_t size, uint32_t flags,
		uint64_t *offset);
/* As the tracer's: PROCESS_INFO and CHECKPOINT. The caller clears and frees. */
int fake_trace(struct fake *w, pid_t pid, GpuTraced *out, int **fds);
bool fake_resumed(struct fake *w, pid_t pid);
uint32_t fake_kfd_bos(struct fake *w, pid_t pid);
unsigned char *fake_kfd_bytes(struct fake *w, pid_t pid, uint64_t va);
uint64_t fake_kfd_key(struct fake *w, pid_t pid, uint64_t va);

/* Descriptors of this process that are open. */
size_t fake_open_fds(void);

#endif
