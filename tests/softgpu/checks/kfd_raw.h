/* SPDX-License-Identifier: MIT */
/*
 * kfd_raw.h - /dev/kfd by ioctl alone, for checks that need to see handles, blobs and error
 * numbers.
 */
#ifndef SOFTGPU_KFD_RAW_H
#define SOFTGPU_KFD_RAW_H

#include <linux/kfd_ioctl.h>
#include <stdint.h>
#include <sys/types.h>

struct kfd_process {
	int kfd, drm;
	uint32_t gpu_id;
};

/* Open /dev/kfd and the first GPU; the last argument says whether to acquire its address space. */
void kfd_open(struct kfd_process *p, int acquire);
/*
 * A buffer at va (user memory at "user" for USERPTR), mapped on the GPU. Returns its handle;
 * *offset for mmap.
 */
uint64_t kfd_buffer(struct kfd_process *p, uint64_t va, uint64_t size, uint32_t flags,
		    uint64_t user, uint64_t *offset);
/* ioctl; 0 or a negative errno. */
int kfd_call(int fd, unsigned long code, void *args);
int kfd_criu_op(int fd, uint32_t op, struct kfd_ioctl_criu_args *args);

/* A dump: what PROCESS_INFO and CHECKPOINT gave. */
struct kfd_dump {
	struct kfd_ioctl_criu_args args;
	struct kfd_criu_device_bucket *devices;
	struct kfd_criu_bo_bucket *bos;
	uint8_t *blob;
	uint8_t **contents;		/* of each buffer with a dma-buf */
};
/*
 * Needs a paused process (or pauses it); reads contents through the dma-bufs, and closes those. 0
 * or -errno.
 */
int kfd_dump_take(int kfd, struct kfd_dump *dump);

#endif
