/* SPDX-License-Identifier: MIT */
/*
 * copy.h - contents of buffers to and from image files, in threads of their own, one per GPU.
 */
#ifndef STASIS_AMDGPU_COPY_H
#define STASIS_AMDGPU_COPY_H

#include <time.h>

#include "proto/images/amdgpu.pb-c.h"
#include "workers/gpu/amdgpu/device.h"
#include "workers/gpu/amdgpu/pack.h"

#define CONTENTS_HEADER PACK_START	/* bytes: the length of what follows */

/* One buffer. */
struct copy_job {
	uint32_t minor;			/* of the render node of its GPU, here */
	int dmabuf;			/* taken over; -1: it cannot be exported, then: */
	int node;			/* taken over: the file through which it is mapped */
	uint64_t node_offset;
	uint64_t size;
	bool vram;
	char file[64]; /* in the images directory; jobs of one file follow each other */
	uint64_t at;			/* plain: after the header. 0: dump makes the file */
	uint64_t total;			/* bytes of contents in the file */
	BoContents *contents;		/* not ours; NULL: plain. dump: filled */
	char what[120];			/* how a fault about it begins */
};

struct copier;

/* Who wants to know when a GPU's lane was at work. */
struct copy_watch {
	void (*tell)(void *ctx, uint32_t minor, const struct timespec *begun,
		     const struct timespec *done);
	void *ctx;
};

/* staging: bytes that an engine may use for itself, 0: a good size. */
struct copier *copier_new(const struct device *d, int image_dir, bool to_gpu, uint64_t staging);
/* Begin soon. Waits while too many do. Never fails: faults are told by copier_end. */
void copier_add(struct copier *c, const struct copy_job *job);
/*
 * Wait for all that was added, tell watch (may be NULL), free c. -1 with the first fault. A NULL
 * copier is fine.
 */
int copier_end(struct copier *c, const struct copy_watch *watch, struct fault *f);
/* Drop what has not begun, wait for what has, free c. */
void copier_cancel(struct copier *c);

/* restore: is there a file with that many bytes of contents? */
int contents_check(int image_dir, const char *name, uint64_t size, struct fault *f);
/* Their names. */
void contents_name_kfd(char *buf, size_t size, uint32_t id, uint32_t gpu_id);
void contents_name_drm(char *buf, size_t size, uint32_t id, uint32_t minor, size_t index);

#endif
