// SPDX-License-Identifier: MIT
/*
 * drm.c - scenario (b): one process with buffers of libdrm_amdgpu, on the first N render nodes,
 * without /dev/kfd.
 *
 *   drm [N]
 *
 * Per GPU: buffers in VRAM and GTT of several sizes with GPU addresses; one mapped twice, one in
 * two parts with a hole, one without GPU address, one without CPU mapping; a gap in the handles.
 * The GPU's own copies tell whether its addresses still show the same bytes; handles still name
 * buffers of the same size.
 */
#include "amd.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 6
#define MAX_GPUS 16
#define SECOND_VA 0x7f0000000000ULL	/* outside what libdrm's manager gives out in these sizes */
#define PARTS_VA 0x7f1000000000ULL

static const uint64_t sizes[N] = { 4096, 65536, 1 << 20, 12288, 8192, 3 << 20 };
static const uint32_t domains[N] = {AMDGPU_GEM_DOMAIN_GTT,  AMDGPU_GEM_DOMAIN_VRAM,
				    AMDGPU_GEM_DOMAIN_VRAM, AMDGPU_GEM_DOMAIN_VRAM,
				    AMDGPU_GEM_DOMAIN_GTT,  AMDGPU_GEM_DOMAIN_GTT};

struct gpu {
	struct amd amd;
	struct buffer b[N];
};

static void set_up(struct gpu *gpu, unsigned int index)
{
	struct buffer gap;

	amd_open(&gpu->amd, index);
	buffer_make(&gpu->amd, &gpu->b[0], sizes[0], domains[0], true);
	buffer_make(&gpu->amd, &gap, 4096, AMDGPU_GEM_DOMAIN_GTT, false);
	for (int i = 1; i < N; i++)
		buffer_make(&gpu->amd, &gpu->b[i], sizes[i], domains[i], i != 4);
	buffer_free(&gap);
	for (int i = 0; i < N; i++)
		fill(gpu->b[i].cpu, 0, sizes[i], index * 100 + (unsigned int)i);
	NEED(amdgpu_bo_va_op(gpu->b[1].bo, 0, sizes[1], SECOND_VA, 0, AMDGPU_VA_OP_MAP) == 0);
	NEED(amdgpu_bo_va_op(gpu->b[3].bo, 0, 4096, PARTS_VA, 0, AMDGPU_VA_OP_MAP) == 0);
	NEED(amdgpu_bo_va_op(gpu->b[3].bo, 8192, 4096, PARTS_VA + 8192, 0, AMDGPU_VA_OP_MAP) == 0);
	NEED(amdgpu_bo_cpu_unmap(gpu->b[2].bo) == 0);
	gpu->b[2].cpu = NULL;
}

static void verify(struct gpu *gpu, unsigned int index)
{
	struct buffer *b = gpu->b;
	void *cpu;

	NEED(amdgpu_bo_cpu_map(b[2].bo, &cpu) == 0);
	b[2].cpu = cpu;
	for (int i = 0; i < N; i++) {
		CHECK(is_filled(b[i].cpu, 0, sizes[i], index * 100 + (unsigned int)i));
		CHECK(raw_size(gpu->amd.fd, b[i].handle) == sizes[i]);
		if (b[i].va)
			CHECK(gpu_sees(&gpu->amd, b[i].va, b[i].cpu, sizes[i]));
	}
	CHECK(raw_size(gpu->amd.fd, b[0].handle + 1) == 0);	/* the gap is one still */
	CHECK(gpu_sees(&gpu->amd, SECOND_VA, b[1].cpu, sizes[1]));
	CHECK(gpu_sees(&gpu->amd, PARTS_VA, b[3].cpu, 4096));
	CHECK(gpu_sees(&gpu->amd, PARTS_VA + 8192, b[3].cpu + 2048, 4096));
	/* Written by the GPU, seen by the CPU. */
	CHECK(amd_copy(&gpu->amd, b[0].va, b[5].va, 4096) == 0);
	CHECK(memcmp((void *)b[0].cpu, (void *)b[5].cpu, 4096) == 0);
	CHECK(amdgpu_bo_va_op(b[1].bo, 0, sizes[1], SECOND_VA, 0, AMDGPU_VA_OP_UNMAP) == 0);
	for (int i = 0; i < N; i++)
		buffer_free(&b[i]);
	amd_close(&gpu->amd);
}

int main(int argc, char **argv)
{
	static struct gpu gpus[MAX_GPUS];
	unsigned int n = argc > 1 ? (unsigned int)atoi(argv[1]) : 1;

	target_begin();
	if (n > MAX_GPUS)
		return 2;
	for (unsigned int i = 0; i < n; i++)
		set_up(&gpus[i], i);
	target_ready();
	for (unsigned int i = 0; i < n; i++)
		verify(&gpus[i], i);
	return target_end();
}
