/* SPDX-License-Identifier: MIT */
/*
 * amd.h - the few things the target programs do with libdrm_amdgpu.
 *
 * libdrm_amdgpu gives the same device handle for every file of one GPU, so a program that needs
 * two files uses the raw functions below, which know nothing but a descriptor.
 */
#ifndef SOFTGPU_AMD_H
#define SOFTGPU_AMD_H

#include <amdgpu.h>
#include <amdgpu_drm.h>
#include <stdbool.h>
#include <stdint.h>

struct amd {
	int fd;
	amdgpu_device_handle dev;
	amdgpu_context_handle ctx;	/* NULL, or what amd_copy uses */
};

struct buffer {
	amdgpu_bo_handle bo;
	uint32_t handle;		/* in the file */
	uint64_t size, va;		/* va 0: not mapped on the GPU */
	amdgpu_va_handle range;
	volatile uint32_t *cpu;		/* NULL: not mapped here */
};

/*
 * A descriptor of the nth GPU's render node (from 0); skips the program when there is no such GPU.
 */
int amd_node(unsigned int nth);
/* The nth GPU with libdrm_amdgpu and a context. */
void amd_open(struct amd *amd, unsigned int nth);
void amd_close(struct amd *amd);

/* A buffer, mapped here; gpu: on the GPU too. domain is AMDGPU_GEM_DOMAIN_*. */
void buffer_make(struct amd *amd, struct buffer *b, uint64_t size, uint32_t domain, bool gpu);
int buffer_export(struct buffer *b);
/* Import a dma-buf, map it as buffer_make() does. */
void buffer_import(struct amd *amd, struct buffer *b, int dmabuf, bool gpu);
void buffer_free(struct buffer *b);
/* Copy with the SDMA engine, gfx9 encoding; waits up to 30 s. 0 or a negative errno. */
int amd_copy(struct amd *amd, uint64_t to, uint64_t from, uint32_t bytes);
/* Check with the GPU's own eyes that size bytes at va are those at b->cpu. */
bool gpu_sees(struct amd *amd, uint64_t va, const volatile uint32_t *cpu, uint64_t size);

/* Raw: no library between. Handles are numbers of the file fd. */
uint32_t raw_create(int fd, uint64_t size, uint32_t domain);
volatile uint32_t *raw_map(int fd, uint32_t handle, uint64_t size);
int raw_va(int fd, uint32_t handle, uint32_t operation, uint64_t va, uint64_t offset,
	   uint64_t size);
int raw_export(int fd, uint32_t handle);
uint32_t raw_import(int fd, int dmabuf);
int raw_close(int fd, uint32_t handle);
/* Size of the buffer with this handle, 0 if there is none. */
uint64_t raw_size(int fd, uint32_t handle);
/* The inode by which a dma-buf is known in the whole kernel. */
uint64_t dmabuf_inode(int dmabuf);

#endif
