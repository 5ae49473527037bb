// SPDX-License-Identifier: MIT
/*
 * kfd_raw.c - see kfd_raw.h.
 */
#include "kfd_raw.h"
#include "../programs/amd.h"
#include "../programs/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int kfd_call(int fd, unsigned long code, void *args)
{
	return ioctl(fd, code, args) == 0 ? 0 : -errno;
}

int kfd_criu_op(int fd, uint32_t op, struct kfd_ioctl_criu_args *args)
{
	args->op = op;
	return kfd_call(fd, AMDKFD_IOC_CRIU_OP, args);
}

void kfd_open(struct kfd_process *p, int acquire)
{
	struct kfd_process_device_apertures apertures[64];
	struct kfd_ioctl_get_process_apertures_new_args get = {
		.kfd_process_device_apertures_ptr = (uintptr_t)apertures, .num_of_nodes = 64 };
	struct kfd_ioctl_acquire_vm_args vm;

	p->kfd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
	NEED(p->kfd >= 0);
	p->drm = amd_node(0);
	NEED(kfd_call(p->kfd, AMDKFD_IOC_GET_PROCESS_APERTURES_NEW, &get) == 0 &&
	     get.num_of_nodes >= 1);
	p->gpu_id = apertures[0].gpu_id;
	vm = (struct kfd_ioctl_acquire_vm_args){ .drm_fd = (uint32_t)p->drm, .gpu_id = p->gpu_id };
	if (acquire)
		NEED(kfd_call(p->kfd, AMDKFD_IOC_ACQUIRE_VM, &vm) == 0);
}

uint64_t kfd_buffer(struct kfd_process *p, uint64_t va, uint64_t size, uint32_t flags,
		    uint64_t user, uint64_t *offset)
{
	struct kfd_ioctl_alloc_memory_of_gpu_args alloc = {.va_addr = va,
							   .size = size,
							   .gpu_id = p->gpu_id,
							   .flags = flags,
							   .mmap_offset = user};
	struct kfd_ioctl_map_memory_to_gpu_args map = {
		.device_ids_array_ptr = (uintptr_t)&p->gpu_id, .n_devices = 1};

	NEED(kfd_call(p->kfd, AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, &alloc) == 0);
	map.handle = alloc.handle;
	NEED(kfd_call(p->kfd, AMDKFD_IOC_MAP_MEMORY_TO_GPU, &map) == 0 && map.n_success == 1);
	if (offset)
		*offset = alloc.mmap_offset;
	return alloc.handle;
}

static uint8_t *read_contents(const struct kfd_criu_bo_bucket *bo)
{
	uint8_t *copy = malloc(bo->size);
	void *p = mmap(NULL, bo->size, PROT_READ, MAP_SHARED, (int)bo->dmabuf_fd, 0);

	NEED(copy && p != MAP_FAILED);
	memcpy(copy, p, bo->size);
	munmap(p, bo->size);
	close((int)bo->dmabuf_fd);
	return copy;
}

int kfd_dump_take(int kfd, struct kfd_dump *dump)
{
	struct kfd_ioctl_criu_args *args = &dump->args;
	int r;

	memset(dump, 0, sizeof(*dump));
	r = kfd_criu_op(kfd, KFD_CRIU_OP_PROCESS_INFO, args);
	if (r)
		return r;
	dump->devices = calloc(args->num_devices, sizeof(*dump->devices));
	dump->bos = calloc(args->num_bos + 1, sizeof(*dump->bos));
	dump->contents = calloc(args->num_bos + 1, sizeof(*dump->contents));
	dump->blob = calloc(1, args->priv_data_size + 1);
	NEED(dump->devices && dump->bos && dump->contents && dump->blob);
	args->devices = (uintptr_t)dump->devices;
	args->bos = (uintptr_t)dump->bos;
	args->priv_data = (uintptr_t)dump->blob;
	r = kfd_criu_op(kfd, KFD_CRIU_OP_CHECKPOINT, args);
	for (uint32_t i = 0; r == 0 && i < args->num_bos; i++)
		if (dump->bos[i].dmabuf_fd != KFD_INVALID_FD)
			dump->contents[i] = read_contents(&dump->bos[i]);
	return r;
}
