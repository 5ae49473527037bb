/* SPDX-License-Identifier: MIT */
/*
 * kfd_criu.h - AMDKFD_IOC_CRIU_OP of /dev/kfd: what the coordinator asks (dump), what the gpu
 * worker has a task ask (restore). Numbers and layouts are those of Linux
 * (include/uapi/linux/kfd_ioctl.h, KFD 1.8 and later).
 */
#ifndef STASIS_KFD_CRIU_H
#define STASIS_KFD_CRIU_H

#include <stdint.h>

#define KFD_IOC_CRIU_OP 0xc0384b22ul
#define KFD_IOC_GET_VERSION 0x80084b01ul
#define KFD_NO_DMABUF UINT32_MAX

enum kfd_criu_op {
	KFD_CRIU_PROCESS_INFO,
	KFD_CRIU_CHECKPOINT,
	KFD_CRIU_UNPAUSE,
	KFD_CRIU_RESTORE,
	KFD_CRIU_RESUME,
};

struct kfd_version {
	uint32_t major, minor;
};

struct kfd_criu_args {
	uint64_t devices;		/* struct kfd_device_bucket[num_devices] */
	uint64_t bos;			/* struct kfd_bo_bucket[num_bos] */
	uint64_t priv_data;
	uint64_t priv_data_size;
	uint32_t num_devices;
	uint32_t num_bos;
	uint32_t num_objects;		/* queues, events, SVM ranges */
	uint32_t pid;
	uint32_t op;
	uint32_t pad;
};

struct kfd_device_bucket {
	uint32_t user_gpu_id;		/* the id the program knows */
	uint32_t actual_gpu_id;		/* the id on this machine */
	uint32_t drm_fd;		/* RESTORE: a render node, in the caller's table */
	uint32_t pad;
};

struct kfd_bo_bucket {
	uint64_t addr;
	uint64_t size;
	uint64_t offset;		/* for mmap, at the dump */
	uint64_t restored_offset;	/* RESTORE: for mmap from now on */
	uint32_t gpu_id;		/* user id */
	uint32_t alloc_flags;		/* enum kfd_alloc_flags */
	uint32_t dmabuf_fd;		/* KFD_NO_DMABUF: none */
	uint32_t pad;
};

enum kfd_alloc_flags {
	KFD_BO_VRAM = 1u << 0,
	KFD_BO_GTT = 1u << 1,
	KFD_BO_USERPTR = 1u << 2,
	KFD_BO_DOORBELL = 1u << 3,
	KFD_BO_MMIO = 1u << 4,
};

/* Memory that KFD allocated: it has a dmabuf and contents, and is mapped through a render node. */
#define KFD_BO_MEMORY (KFD_BO_VRAM | KFD_BO_GTT)

_Static_assert(sizeof(struct kfd_criu_args) == 56, "as the kernel's");
_Static_assert(sizeof(struct kfd_device_bucket) == 16, "as the kernel's");
_Static_assert(sizeof(struct kfd_bo_bucket) == 48, "as the kernel's");

#endif
