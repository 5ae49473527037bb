// SPDX-License-Identifier: MIT
/*
 * twofiles.c - scenario (e): two opens of one render node in one task, by ioctl alone.
 *
 * Both files have a buffer with the same handle number, the same GPU address and other contents;
 * one buffer is in both files, by import, under different handles. A third descriptor is a dup of
 * the first. Afterwards each file has its own, a mapping through the wrong file is refused, and
 * the shared buffer is one.
 */
#include "amd.h"
#include "target.h"

#include <amdgpu_drm.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#define SIZE 16384
#define VA 0x100000ULL

struct side {
	int fd;
	uint32_t own, shared;
	volatile uint32_t *own_cpu, *shared_cpu;
};

static uint64_t offset_of(int fd, uint32_t handle)
{
	union drm_amdgpu_gem_mmap args = { .in = { .handle = handle } };

	NEED(drmIoctl(fd, DRM_IOCTL_AMDGPU_GEM_MMAP, &args) == 0);
	return args.out.addr_ptr;
}

int main(void)
{
	struct side s[2];
	int dmabuf, again;
	void *p;

	target_begin();
	for (int i = 0; i < 2; i++) {
		s[i].fd = amd_node(0);
		s[i].own = raw_create(s[i].fd, SIZE, AMDGPU_GEM_DOMAIN_VRAM);
		s[i].own_cpu = raw_map(s[i].fd, s[i].own, SIZE);
		fill(s[i].own_cpu, 0, SIZE, 10 + (unsigned int)i);
		NEED(raw_va(s[i].fd, s[i].own, AMDGPU_VA_OP_MAP, VA, 0, SIZE) == 0);
	}
	NEED(s[0].own == s[1].own);
	NEED(raw_close(s[1].fd, raw_create(s[1].fd, 4096, AMDGPU_GEM_DOMAIN_GTT)) == 0);
	s[0].shared = raw_create(s[0].fd, SIZE, AMDGPU_GEM_DOMAIN_GTT);
	raw_create(s[1].fd, 4096,
		   AMDGPU_GEM_DOMAIN_GTT); /* so that the shared one's numbers differ */
	dmabuf = raw_export(s[0].fd, s[0].shared);
	s[1].shared = raw_import(s[1].fd, dmabuf);
	close(dmabuf);
	NEED(s[0].shared != s[1].shared);
	for (int i = 0; i < 2; i++)
		s[i].shared_cpu = raw_map(s[i].fd, s[i].shared, SIZE);
	fill(s[0].shared_cpu, 0, SIZE, 12);
	again = dup(s[0].fd);
	NEED(again >= 0);

	target_ready();
	for (int i = 0; i < 2; i++) {
		CHECK(is_filled(s[i].own_cpu, 0, SIZE, 10 + (unsigned int)i));
		CHECK(is_filled(s[i].shared_cpu, 0, SIZE, 12));
		CHECK(raw_size(s[i].fd, s[i].own) == SIZE &&
		      raw_size(s[i].fd, s[i].shared) == SIZE);
		CHECK(raw_va(s[i].fd, s[i].own, AMDGPU_VA_OP_MAP, VA, 0, SIZE) ==
		      -EINVAL); /* taken */
		CHECK(raw_va(s[i].fd, s[i].own, AMDGPU_VA_OP_UNMAP, VA, 0, SIZE) == 0);
	}
	s[0].shared_cpu[5] = 0x12345678;
	CHECK(s[1].shared_cpu[5] == 0x12345678);
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, s[1].fd, (off_t)offset_of(s[0].fd, s[0].own));
	CHECK(p == MAP_FAILED && errno == EACCES);
	CHECK(raw_size(again, s[0].shared) == SIZE);
	CHECK(raw_close(again, s[0].shared) == 0 &&
	      raw_size(s[0].fd, s[0].shared) == 0); /* one file, two descriptors */
	return target_end();
}
