// SPDX-License-Identifier: MIT
/*
 * amd.c - see amd.h: buffers, addresses and copies through libdrm_amdgpu, and by ioctl alone.
 */
#include "amd.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xf86drm.h>

#define RWX (AMDGPU_VM_PAGE_READABLE | AMDGPU_VM_PAGE_WRITEABLE | AMDGPU_VM_PAGE_EXECUTABLE)

int amd_node(unsigned int nth)
{
	char path[64];
	int fd;

	for (int minor = 128; minor < 256; minor++) {
		snprintf(path, sizeof(path), "/dev/dri/renderD%d", minor);
		if (access(path, F_OK) < 0 || nth-- > 0)
			continue;
		fd = open(path, O_RDWR | O_CLOEXEC);
		NEED(fd >= 0);
		return fd;
	}
	printf("skip: not enough render nodes\n");
	exit(77);
}

void amd_open(struct amd *amd, unsigned int nth)
{
	uint32_t major, minor;

	amd->fd = amd_node(nth);
	NEED(amdgpu_device_initialize(amd->fd, &major, &minor, &amd->dev) == 0);
	NEED(major == 3);
	amd->ctx = NULL;
}

void amd_close(struct amd *amd)
{
	CHECK(!amd->ctx || amdgpu_cs_ctx_free(amd->ctx) == 0);
	CHECK(amdgpu_device_deinitialize(amd->dev) == 0);
	CHECK(close(amd->fd) == 0);
}

static void map_both(struct amd *amd, struct buffer *b, bool gpu)
{
	void *cpu;

	NEED(amdgpu_bo_export(b->bo, amdgpu_bo_handle_type_kms, &b->handle) == 0);
	NEED(amdgpu_bo_cpu_map(b->bo, &cpu) == 0);
	b->cpu = cpu;
	if (!gpu)
		return;
	NEED(amdgpu_va_range_alloc(amd->dev, amdgpu_gpu_va_range_general, b->size, 4096, 0, &b->va,
				   &b->range, 0) == 0);
	NEED(amdgpu_bo_va_op(b->bo, 0, b->size, b->va, 0, AMDGPU_VA_OP_MAP) == 0);
}

void buffer_make(struct amd *amd, struct buffer *b, uint64_t size, uint32_t domain, bool gpu)
{
	struct amdgpu_bo_alloc_request req = {
		.alloc_size = size,
		.phys_alignment = 4096,
		.preferred_heap = domain,
		.flags = domain == AMDGPU_GEM_DOMAIN_VRAM ? AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED
							  : 0,
	};

	memset(b, 0, sizeof(*b));
	NEED(amdgpu_bo_alloc(amd->dev, &req, &b->bo) == 0);
	b->size = size;
	map_both(amd, b, gpu);
}

int buffer_export(struct buffer *b)
{
	uint32_t fd;

	NEED(amdgpu_bo_export(b->bo, amdgpu_bo_handle_type_dma_buf_fd, &fd) == 0);
	return (int)fd;
}

void buffer_import(struct amd *amd, struct buffer *b, int dmabuf, bool gpu)
{
	struct amdgpu_bo_import_result result;

	memset(b, 0, sizeof(*b));
	NEED(amdgpu_bo_import(amd->dev, amdgpu_bo_handle_type_dma_buf_fd, dmabuf, &result) == 0);
	b->bo = result.buf_handle;
	b->size = result.alloc_size;
	map_both(amd, b, gpu);
}

void buffer_free(struct buffer *b)
{
	if (b->va) {
		CHECK(amdgpu_bo_va_op(b->bo, 0, b->size, b->va, 0, AMDGPU_VA_OP_UNMAP) == 0);
		CHECK(amdgpu_va_range_free(b->range) == 0);
	}
	CHECK(amdgpu_bo_cpu_unmap(b->bo) == 0);
	CHECK(amdgpu_bo_free(b->bo) == 0);
}

static void copy_packet(uint32_t *p, uint64_t to, uint64_t from, uint32_t bytes)
{
	p[0] = 1;
	p[1] = bytes - 1;
	p[2] = 0;
	p[3] = (uint32_t)from;
	p[4] = (uint32_t)(from >> 32);
	p[5] = (uint32_t)to;
	p[6] = (uint32_t)(to >> 32);
}

int amd_copy(struct amd *amd, uint64_t to, uint64_t from, uint32_t bytes)
{
	struct amdgpu_cs_ib_info ib = { 0 };
	struct amdgpu_cs_request req = {
		.ip_type = AMDGPU_HW_IP_DMA, .number_of_ibs = 1, .ibs = &ib};
	struct amdgpu_cs_fence fence = { .context = amd->ctx, .ip_type = AMDGPU_HW_IP_DMA };
	struct buffer words;
	uint32_t done = 0;
	int r;

	buffer_make(amd, &words, 4096, AMDGPU_GEM_DOMAIN_GTT, true);
	copy_packet((uint32_t *)words.cpu, to, from, bytes);
	words.cpu[7] = 0;			/* NOP, to a multiple of 8 */
	ib.ib_mc_address = words.va;
	ib.size = 8;
	/* Else one for the moment: a context cannot be dumped. */
	if (!amd->ctx)
		NEED(amdgpu_cs_ctx_create(amd->dev, &fence.context) == 0);
	r = amdgpu_cs_submit(fence.context, 0, &req, 1);
	if (r == 0) {
		/*
		 * Without a limit: the kernel compares with its own clock what libdrm adds to the
		 * clock of our time namespace, which a restore may have set back.
		 */
		fence.fence = req.seq_no;
		r = amdgpu_cs_query_fence_status(&fence, AMDGPU_TIMEOUT_INFINITE, 0, &done);
	}
	if (r == 0 && !done)
		r = -ETIME;
	if (!amd->ctx)
		CHECK(amdgpu_cs_ctx_free(fence.context) == 0);
	buffer_free(&words);
	return r;
}

bool gpu_sees(struct amd *amd, uint64_t va, const volatile uint32_t *cpu, uint64_t size)
{
	struct buffer seen;
	bool same;

	buffer_make(amd, &seen, size, AMDGPU_GEM_DOMAIN_GTT, true);
	same = amd_copy(amd, seen.va, va, (uint32_t)size) == 0 &&
	       memcmp((void *)seen.cpu, (const void *)cpu, size) == 0;
	buffer_free(&seen);
	return same;
}

uint32_t raw_create(int fd, uint64_t size, uint32_t domain)
{
	union drm_amdgpu_gem_create args = {
		.in = {.bo_size = size, .alignment = 4096, .domains = domain}};

	NEED(drmIoctl(fd, DRM_IOCTL_AMDGPU_GEM_CREATE, &args) == 0);
	return args.out.handle;
}

volatile uint32_t *raw_map(int fd, uint32_t handle, uint64_t size)
{
	union drm_amdgpu_gem_mmap args = { .in = { .handle = handle } };
	void *p;

	NEED(drmIoctl(fd, DRM_IOCTL_AMDGPU_GEM_MMAP, &args) == 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)args.out.addr_ptr);
	NEED(p != MAP_FAILED);
	return p;
}

int raw_va(int fd, uint32_t handle, uint32_t operation, uint64_t va, uint64_t offset, uint64_t size)
{
	struct drm_amdgpu_gem_va args = {.handle = handle,
					 .operation = operation,
					 .flags = RWX,
					 .va_address = va,
					 .offset_in_bo = offset,
					 .map_size = size};

	return drmIoctl(fd, DRM_IOCTL_AMDGPU_GEM_VA, &args) == 0 ? 0 : -errno;
}

int raw_export(int fd, uint32_t handle)
{
	int dmabuf = -1;

	NEED(drmPrimeHandleToFD(fd, handle, DRM_CLOEXEC | DRM_RDWR, &dmabuf) == 0);
	return dmabuf;
}

uint32_t raw_import(int fd, int dmabuf)
{
	uint32_t handle = 0;

	NEED(drmPrimeFDToHandle(fd, dmabuf, &handle) == 0);
	return handle;
}

int raw_close(int fd, uint32_t handle)
{
	struct drm_gem_close args = { .handle = handle };

	return drmIoctl(fd, DRM_IOCTL_GEM_CLOSE, &args) == 0 ? 0 : -errno;
}

uint64_t raw_size(int fd, uint32_t handle)
{
	struct drm_amdgpu_gem_create_in info = { 0 };
	struct drm_amdgpu_gem_op args = { .handle = handle, .op = AMDGPU_GEM_OP_GET_GEM_CREATE_INFO,
					  .value = (uintptr_t)&info };

	return drmIoctl(fd, DRM_IOCTL_AMDGPU_GEM_OP, &args) == 0 ? info.bo_size : 0;
}

uint64_t dmabuf_inode(int dmabuf)
{
	struct stat st;

	NEED(fstat(dmabuf, &st) == 0);
	return st.st_ino;
}
