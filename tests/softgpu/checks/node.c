// SPDX-License-Identifier: MIT
/*
 * node.c - render nodes: copies, sharing, queries, limits, what is refused, injected failures.
 * Needs two GPUs with 64 MiB each (gpus=2 vram_mb=64).
 */
#include "../programs/amd.h"
#include "../programs/target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#define SETTINGS "/sys/module/softgpu/parameters/"
#define FAULTS "/sys/kernel/debug/softgpu/faults"

/* The interfaces of Linux 6.18, as the facts say: these headers are older. */
struct list_entry {
	uint32_t handle, flags;
	uint64_t size, domains, alloc_flags, alignment;
};
struct list_handles {
	uint64_t entries;
	uint32_t num, pad;
};
struct mapping {
	uint64_t addr, size, offset, flags;
};
struct gem_op {
	uint32_t handle, op;
	uint64_t value;
	uint32_t num, pad;
};
#define LIST_HANDLES 0xc0106459u
#define GEM_OP 0xc0186450u
#define CHANGE_HANDLE 0xc00864d2u

static void set(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	NEED(fd >= 0);
	NEED(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static int call(int fd, unsigned long code, void *args)
{
	return drmIoctl(fd, code, args) == 0 ? 0 : -errno;
}

static void copies(struct amd *amd)
{
	struct buffer a, b;

	NEED(amdgpu_cs_ctx_create(amd->dev, &amd->ctx) == 0);
	buffer_make(amd, &a, 1 << 20, AMDGPU_GEM_DOMAIN_VRAM, true);
	buffer_make(amd, &b, 1 << 20, AMDGPU_GEM_DOMAIN_GTT, true);
	fill(a.cpu, 0, 1 << 20, 5);
	CHECK(amd_copy(amd, b.va, a.va, 1 << 20) == 0);
	CHECK(is_filled(b.cpu, 0, 1 << 20, 5));
	CHECK(amd_copy(amd, b.va + 1, a.va + 4097, 8190) == 0);
	CHECK(memcmp((char *)b.cpu + 1, (char *)a.cpu + 4097, 8190) == 0);
	CHECK(((char *)b.cpu)[8191] == ((char *)a.cpu)[8191]);
	CHECK(amd_copy(amd, 0x700000000000, a.va, 4096) != 0);		/* nothing there */
	CHECK(amdgpu_bo_va_op(b.bo, 0, b.size, b.va, 0, AMDGPU_VA_OP_UNMAP) == 0);
	CHECK(amdgpu_bo_va_op(b.bo, 0, 4096, b.va, 0, AMDGPU_VA_OP_MAP) == 0);
	CHECK(amd_copy(amd, b.va, a.va, 4097) != 0);			/* one byte too many */
	set(SETTINGS "strict", "0");
	CHECK(amd_copy(amd, b.va, a.va, 4097) == 0); /* tolerated: the last one */
	CHECK(amd_copy(amd, b.va, a.va, 4098) != 0);
	set(SETTINGS "strict", "1");
	set(SETTINGS "fail_mode", "1");
	CHECK(amd_copy(amd, b.va, a.va, 4097) == -ETIME);		/* in the wait */
	set(SETTINGS "fail_mode", "0");
	CHECK(amd_copy(amd, b.va, a.va, 4096) != 0); /* the context is lost with it */
	NEED(amdgpu_cs_ctx_free(amd->ctx) == 0 && amdgpu_cs_ctx_create(amd->dev, &amd->ctx) == 0);
	CHECK(amdgpu_bo_va_op(b.bo, 0, 4096, b.va, 0, AMDGPU_VA_OP_UNMAP) == 0);
	CHECK(amdgpu_bo_va_op(b.bo, 0, b.size, b.va, 0, AMDGPU_VA_OP_MAP) == 0);
	buffer_free(&a);
	buffer_free(&b);
}

/* A buffer over memory of this process, as a bounce buffer for copies. */
static void user_memory(struct amd *amd)
{
	size_t size = 65536;
	uint32_t *mine =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct drm_amdgpu_gem_userptr args = { .addr = (uintptr_t)mine, .size = size, .flags = 0 };
	struct buffer from;
	amdgpu_bo_handle bo;

	NEED(mine != MAP_FAILED);
	buffer_make(amd, &from, size, AMDGPU_GEM_DOMAIN_VRAM, true);
	fill(from.cpu, 0, size, 6);
	CHECK(call(amd->fd, DRM_IOCTL_AMDGPU_GEM_USERPTR, &args) == -EACCES);
	NEED(amdgpu_create_bo_from_user_mem(amd->dev, mine, size, &bo) == 0);
	NEED(amdgpu_bo_va_op(bo, 0, size, 0x7e0000000000, 0, AMDGPU_VA_OP_MAP) == 0);
	CHECK(amd_copy(amd, 0x7e0000000000, from.va, (uint32_t)size) == 0);
	CHECK(is_filled(mine, 0, size, 6));
	CHECK(amdgpu_bo_va_op(bo, 0, size, 0x7e0000000000, 0, AMDGPU_VA_OP_UNMAP) == 0);
	CHECK(amdgpu_bo_free(bo) == 0);
	buffer_free(&from);
	munmap(mine, size);
}

static void queries(int fd)
{
	uint32_t a = raw_create(fd, 8192, AMDGPU_GEM_DOMAIN_VRAM),
		 b = raw_create(fd, 4096, AMDGPU_GEM_DOMAIN_GTT);
	struct list_entry entries[4];
	struct mapping maps[4];
	struct list_handles list = { .entries = (uintptr_t)entries, .num = 1 };
	struct gem_op op = { .handle = a, .op = 2, .value = (uintptr_t)maps, .num = 4 };
	struct { uint32_t from, to; } change = { a, 77 };

	memset(entries, 0, sizeof(entries));
	CHECK(call(fd, LIST_HANDLES, &list) == 0 && list.num == 2 &&
	      entries[0].handle == 0); /* no room: only the number */
	list.num = 4;
	CHECK(call(fd, LIST_HANDLES, &list) == 0 && list.num == 2);
	CHECK(entries[0].handle == a && entries[0].size == 8192 &&
	      entries[0].domains == AMDGPU_GEM_DOMAIN_VRAM);
	CHECK(entries[1].handle == b && entries[1].size == 4096 && entries[1].alignment == 4096 &&
	      !entries[1].flags);
	CHECK(call(fd, GEM_OP, &op) == 0 && op.num == 0);
	CHECK(raw_va(fd, a, AMDGPU_VA_OP_MAP, 0x200000, 4096, 4096) == 0);
	CHECK(raw_va(fd, a, AMDGPU_VA_OP_MAP, 0x300000, 0, 8192) == 0);
	CHECK(raw_va(fd, b, AMDGPU_VA_OP_MAP, 0x301000, 0, 4096) == -EINVAL);
	op.num = 4;
	CHECK(call(fd, GEM_OP, &op) == 0 && op.num == 2);
	CHECK(maps[0].addr == 0x200000 && maps[0].offset == 4096 && maps[0].size == 4096 &&
	      maps[0].flags == 0xe);
	CHECK(maps[1].addr == 0x300000 && maps[1].offset == 0 && maps[1].size == 8192);
	CHECK(raw_va(fd, 0, AMDGPU_VA_OP_CLEAR, 0x301000, 0, 4096) == 0);
	op.num = 4;
	CHECK(call(fd, GEM_OP, &op) == 0 && op.num == 2 && maps[1].size == 4096);
	CHECK(call(fd, CHANGE_HANDLE, &change) == -EINVAL);
	set(SETTINGS "level", "612");
	CHECK(call(fd, LIST_HANDLES, &list) == -EINVAL && call(fd, GEM_OP, &op) == -EINVAL);
	set(SETTINGS "level", "618");
	CHECK(raw_close(fd, a) == 0 && raw_close(fd, b) == 0);
	CHECK(raw_close(fd, b) == -EINVAL);
}

static void limits(int fd)
{
	union drm_amdgpu_gem_create big = {
		.in = {.bo_size = 65 << 20, .domains = AMDGPU_GEM_DOMAIN_VRAM}};
	union drm_amdgpu_gem_create none = { .in = { .bo_size = 4096, .domains = 0x40 } };

	CHECK(call(fd, DRM_IOCTL_AMDGPU_GEM_CREATE, &big) == -ENOMEM);
	CHECK(call(fd, DRM_IOCTL_AMDGPU_GEM_CREATE, &none) == -EINVAL);
	set(FAULTS, "drm.0x40:2:5");
	CHECK(raw_close(fd, raw_create(fd, 4096, AMDGPU_GEM_DOMAIN_GTT)) == 0);
	none.in.domains = AMDGPU_GEM_DOMAIN_GTT;
	CHECK(call(fd, DRM_IOCTL_AMDGPU_GEM_CREATE, &none) == -EIO);
	CHECK(raw_close(fd, raw_create(fd, 4096, AMDGPU_GEM_DOMAIN_GTT)) == 0);
}

static void failing_copies(struct amd *amd)
{
	struct buffer a;

	buffer_make(amd, &a, 4096, AMDGPU_GEM_DOMAIN_GTT, true);
	set(FAULTS, "sdma:0:12");
	CHECK(amd_copy(amd, a.va, a.va, 4096) == -ENOMEM &&
	      amd_copy(amd, a.va, a.va, 4096) == -ENOMEM);
	set(FAULTS, "\n");
	CHECK(amd_copy(amd, a.va, a.va, 4096) == 0);
	buffer_free(&a);
}

static uint32_t flags_of(int fd, uint32_t handle)
{
	struct list_entry entries[16];
	struct list_handles list = { .entries = (uintptr_t)entries, .num = 16 };

	NEED(call(fd, LIST_HANDLES, &list) == 0 && list.num <= 16);
	for (uint32_t i = 0; i < list.num; i++)
		if (entries[i].handle == handle)
			return entries[i].flags;
	return ~0u;
}

/* Identity by inode within a GPU; a real import, with its flag, on the other GPU. */
static void sharing(void)
{
	int one = amd_node(0), two = amd_node(0), other = amd_node(1);
	struct amd amd;
	struct buffer far;
	uint32_t a = raw_create(one, 8192, AMDGPU_GEM_DOMAIN_VRAM), b, c;
	volatile uint32_t *cpu = raw_map(one, a, 8192), *there;
	int dmabuf = raw_export(one, a), again;

	b = raw_import(two, dmabuf);
	CHECK(raw_import(two, dmabuf) == b && raw_import(one, dmabuf) == a);
	again = raw_export(two, b);
	CHECK(dmabuf_inode(again) == dmabuf_inode(dmabuf));
	CHECK(flags_of(two, b) == 0);
	c = raw_import(other, dmabuf);
	CHECK(flags_of(other, c) == 1);
	fill(cpu, 0, 8192, 9);
	CHECK(raw_va(other, c, AMDGPU_VA_OP_MAP, 0x400000, 0, 8192) == 0);
	amd_open(&amd, 1);
	buffer_import(&amd, &far, dmabuf, true);
	CHECK(gpu_sees(&amd, far.va, cpu, 8192));	/* device memory of the other GPU */
	buffer_free(&far);
	amd_close(&amd);
	there = raw_map(two, b, 8192);
	CHECK(is_filled(there, 0, 8192, 9));
	there = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
	CHECK(there != MAP_FAILED && is_filled(there, 0, 8192, 9));
	CHECK(raw_close(other, c) == 0);
	close(dmabuf);
	close(again);
	close(one);
	close(two);
	close(other);
}

/* Memory of another driver: its dma-buf is imported and copied from. */
static void foreign(struct amd *amd)
{
	struct udmabuf_create create = { .size = 65536 };
	int memfd = memfd_create("pages", MFD_ALLOW_SEALING), dev = open("/dev/udmabuf", O_RDWR),
	    dmabuf;
	struct buffer to;
	uint32_t handle, *p;

	if (dev < 0) {
		printf("no udmabuf in this kernel\n");
		return;
	}
	NEED(memfd >= 0 && ftruncate(memfd, 65536) == 0 &&
	     fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	NEED(p != MAP_FAILED);
	fill(p, 0, 65536, 11);
	create.memfd = (uint32_t)memfd;
	dmabuf = ioctl(dev, UDMABUF_CREATE, &create);
	NEED(dmabuf >= 0);
	handle = raw_import(amd->fd, dmabuf);
	CHECK(flags_of(amd->fd, handle) == 1);
	CHECK(raw_va(amd->fd, handle, AMDGPU_VA_OP_MAP, 0x7d0000000000, 0, 65536) == 0);
	buffer_make(amd, &to, 65536, AMDGPU_GEM_DOMAIN_VRAM, true);
	CHECK(amd_copy(amd, to.va, 0x7d0000000000, 65536) == 0);
	CHECK(is_filled(to.cpu, 0, 65536, 11));
	buffer_free(&to);
	CHECK(raw_close(amd->fd, handle) == 0);
	close(dmabuf);
	close(dev);
	close(memfd);
}

int main(void)
{
	struct amd amd;
	int fd;

	target_begin();
	fd = amd_node(0);
	queries(fd);
	limits(fd);
	close(fd);
	amd_open(&amd, 0);
	copies(&amd);
	user_memory(&amd);
	failing_copies(&amd);
	foreign(&amd);
	amd_close(&amd);
	sharing();
	return target_end();
}
