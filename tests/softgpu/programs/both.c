// SPDX-License-Identifier: MIT
/*
 * both.c - both DEVICE PROCESS [hidden]: so many MiB of VRAM, and of memory of its own.
 *
 * hidden: the processor does not see the VRAM, so that only the GPU's engine can copy it; its
 * contents are written and checked through a buffer that is seen.
 */
#include "amd.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PIECE (4ul << 20)

struct vram {
	struct buffer *piece;
	size_t n;
	bool hidden;
};

/* A buffer the processor does not see, at an address of the GPU. */
static void make_hidden(struct amd *amd, struct buffer *b, struct buffer *window)
{
	struct amdgpu_bo_alloc_request req = { .alloc_size = PIECE, .phys_alignment = 4096,
					       .preferred_heap = AMDGPU_GEM_DOMAIN_VRAM,
					       .flags = AMDGPU_GEM_CREATE_NO_CPU_ACCESS };

	NEED(amdgpu_bo_alloc(amd->dev, &req, &b->bo) == 0);
	b->size = PIECE;
	NEED(amdgpu_va_range_alloc(amd->dev, amdgpu_gpu_va_range_general, PIECE, 4096, 0, &b->va,
				   &b->range, 0) == 0);
	NEED(amdgpu_bo_va_op(b->bo, 0, PIECE, b->va, 0, AMDGPU_VA_OP_MAP) == 0);
	NEED(amd_copy(amd, b->va, window->va, PIECE / 2) == 0);
	NEED(amd_copy(amd, b->va + PIECE / 2, window->va + PIECE / 2, PIECE / 2) == 0);
}

static void check_hidden(struct amd *amd, struct buffer *b, struct buffer *window, uint32_t seed)
{
	memset((void *)window->cpu, 0, PIECE);
	CHECK(amd_copy(amd, window->va, b->va, PIECE / 2) == 0);
	CHECK(amd_copy(amd, window->va + PIECE / 2, b->va + PIECE / 2, PIECE / 2) == 0);
	CHECK(is_filled(window->cpu, 0, PIECE, seed));
}

static void make(struct amd *amd, struct vram *v, struct buffer *window)
{
	for (size_t i = 0; i < v->n; i++) {
		if (!v->hidden) {
			buffer_make(amd, &v->piece[i], PIECE, AMDGPU_GEM_DOMAIN_VRAM, false);
			fill(v->piece[i].cpu, 0, PIECE, (uint32_t)i);
			continue;
		}
		fill(window->cpu, 0, PIECE, (uint32_t)i);
		make_hidden(amd, &v->piece[i], window);
	}
}

static void check(struct amd *amd, struct vram *v, struct buffer *window)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->hidden)
			check_hidden(amd, &v->piece[i], window, (uint32_t)i);
		else
			CHECK(is_filled(v->piece[i].cpu, 0, PIECE, (uint32_t)i));
}

int main(int argc, char **argv)
{
	struct vram v = { 0 };
	struct buffer window;
	struct amd amd;
	size_t own;
	void *p;

	target_begin();
	if (argc < 3) {
		fprintf(stderr, "usage: both DEVICE_MIB PROCESS_MIB [hidden]\n");
		return 2;
	}
	v.n = ((size_t)atoi(argv[1]) << 20) / PIECE;
	own = (size_t)atoi(argv[2]) << 20;
	v.hidden = argc > 3;
	v.piece = calloc(v.n + 1, sizeof(*v.piece));
	p = mmap(NULL, own + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(v.piece && p != MAP_FAILED);
	amd_open(&amd, 0);
	buffer_make(&amd, &window, PIECE, AMDGPU_GEM_DOMAIN_GTT, true);
	make(&amd, &v, &window);
	fill(p, 0, own, 77);
	target_ready();
	check(&amd, &v, &window);
	CHECK(is_filled(p, 0, own, 77));
	return target_end();
}
