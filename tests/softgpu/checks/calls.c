// SPDX-License-Identifier: MIT
/*
 * calls.c - ioctls of /dev/kfd, one after the other: who may call, buffers and their dma-bufs,
 * events and waits, queues, ranges of shared memory, injected failures. Needs one GPU.
 */
#include "kfd_raw.h"
#include "../programs/amd.h"
#include "../programs/target.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FAULTS "/sys/kernel/debug/softgpu/faults"
#define RWX (KFD_IOC_ALLOC_MEM_FLAGS_WRITABLE | KFD_IOC_ALLOC_MEM_FLAGS_EXECUTABLE)
#define VA 0x300000000000ULL
#define SVM_BYTES (16 * 4096u)

static int unmap_free(struct kfd_process *p, uint64_t handle)
{
	struct kfd_ioctl_unmap_memory_from_gpu_args unmap = {
		.handle = handle, .device_ids_array_ptr = (uintptr_t)&p->gpu_id, .n_devices = 1 };
	struct kfd_ioctl_free_memory_of_gpu_args args = { .handle = handle };

	CHECK(kfd_call(p->kfd, AMDKFD_IOC_FREE_MEMORY_OF_GPU, &args) == -EBUSY);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_UNMAP_MEMORY_FROM_GPU, &unmap) == 0);
	return kfd_call(p->kfd, AMDKFD_IOC_FREE_MEMORY_OF_GPU, &args);
}

static void owner(struct kfd_process *p)
{
	struct kfd_ioctl_get_version_args version;
	struct kfd_ioctl_acquire_vm_args again = { (uint32_t)p->drm, p->gpu_id };
	struct kfd_ioctl_acquire_vm_args other = { (uint32_t)amd_node(0), p->gpu_id };
	pid_t child = target_fork();

	if (child == 0) {
		CHECK(kfd_call(p->kfd, AMDKFD_IOC_GET_VERSION, &version) == -EBADF);
		_exit(target_end());
	}
	target_join(child);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_GET_VERSION, &version) == 0 &&
	      version.major_version == 1);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_ACQUIRE_VM, &again) == 0);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_ACQUIRE_VM, &other) == -EBUSY);
	close((int)other.drm_fd);
}

static void buffers(struct kfd_process *p)
{
	uint64_t offset;
	uint64_t vram = kfd_buffer(p, VA, 65536, RWX | KFD_IOC_ALLOC_MEM_FLAGS_VRAM, 0, &offset);
	struct kfd_ioctl_map_memory_to_gpu_args map = {
		.device_ids_array_ptr = (uintptr_t)&p->gpu_id, .n_devices = 1 };
	struct kfd_ioctl_alloc_memory_of_gpu_args overlap = {
		.va_addr = VA + 4096, .size = 4096, .gpu_id = p->gpu_id,
		.flags = RWX | KFD_IOC_ALLOC_MEM_FLAGS_GTT };
	struct kfd_ioctl_free_memory_of_gpu_args gone = { .handle = vram + 1000 };
	int stranger = amd_node(0);

	CHECK(kfd_call(p->kfd, AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, &overlap) == 0);
	map.handle = overlap.handle;
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_MAP_MEMORY_TO_GPU, &map) == -EINVAL &&
	      map.n_success == 0);
	gone.handle = overlap.handle;
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_FREE_MEMORY_OF_GPU, &gone) == 0);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_FREE_MEMORY_OF_GPU, &gone) == -EINVAL);
	CHECK(mmap(NULL, 65536, PROT_READ, MAP_SHARED, stranger, (off_t)offset) == MAP_FAILED &&
	      errno == EACCES);
	CHECK(mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE, p->drm, (off_t)offset) != MAP_FAILED);
	CHECK(mmap(NULL, 65536, PROT_READ, MAP_PRIVATE, p->drm, (off_t)offset) == MAP_FAILED);
	CHECK(unmap_free(p, vram) == 0);
	close(stranger);
}

/* Out as a dma-buf, into a render node, and back into KFD: one buffer. */
static void dmabufs(struct kfd_process *p)
{
	uint64_t handle = kfd_buffer(p, VA, 8192, RWX | KFD_IOC_ALLOC_MEM_FLAGS_VRAM, 0, NULL);
	struct { uint64_t handle; uint32_t flags, fd; } out = { handle, O_CLOEXEC, 0 };
	struct kfd_ioctl_get_dmabuf_info_args info = { 0 };
	struct kfd_ioctl_import_dmabuf_args in = { .va_addr = VA + 65536, .gpu_id = p->gpu_id };
	struct kfd_ioctl_free_memory_of_gpu_args args;
	int node = amd_node(0), again;
	uint32_t gem;

	NEED(kfd_call(p->kfd, 0xc0104b24, &out) == 0);	/* EXPORT_DMABUF */
	info.dmabuf_fd = in.dmabuf_fd = out.fd;
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_GET_DMABUF_INFO, &info) == 0 && info.size == 8192 &&
	      info.gpu_id == p->gpu_id && info.flags == KFD_IOC_ALLOC_MEM_FLAGS_VRAM);
	gem = raw_import(node, (int)out.fd);
	again = raw_export(node, gem);
	CHECK(dmabuf_inode(again) == dmabuf_inode((int)out.fd));
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_IMPORT_DMABUF, &in) == 0 && in.handle != handle);
	args.handle = in.handle;
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_FREE_MEMORY_OF_GPU, &args) == 0);
	CHECK(unmap_free(p, handle) == 0);
	close(node);
	close(again);
	close((int)out.fd);
}

static struct kfd_process *shared;

static void *set_later(void *id)
{
	struct kfd_ioctl_set_event_args set = { .event_id = *(uint32_t *)id };
	const struct timespec pause = { .tv_nsec = 200000000 };

	nanosleep(&pause, NULL);
	CHECK(kfd_call(shared->kfd, AMDKFD_IOC_SET_EVENT, &set) == 0);
	return NULL;
}

static int wait_for(struct kfd_process *p, uint32_t id, uint32_t ms)
{
	struct kfd_event_data data = { .event_id = id };
	struct kfd_ioctl_wait_events_args wait = { .events_ptr = (uintptr_t)&data, .num_events = 1,
						   .timeout = ms };
	int r = kfd_call(p->kfd, AMDKFD_IOC_WAIT_EVENTS, &wait);

	return r ? r : (int)wait.wait_result;
}

static void events(struct kfd_process *p)
{
	struct kfd_ioctl_create_event_args ev = {.event_type = KFD_IOC_EVENT_SIGNAL,
						 .auto_reset = 1};
	struct kfd_ioctl_destroy_event_args gone;
	pthread_t thread;

	NEED(kfd_call(p->kfd, AMDKFD_IOC_CREATE_EVENT, &ev) == 0 && ev.event_id == 1);
	CHECK(mmap(NULL, KFD_SIGNAL_EVENT_LIMIT * 8, PROT_READ, MAP_SHARED, p->kfd,
		   (off_t)ev.event_page_offset) != MAP_FAILED);
	CHECK(wait_for(p, ev.event_id, 0) == KFD_IOC_WAIT_RESULT_TIMEOUT);
	shared = p;
	NEED(pthread_create(&thread, NULL, set_later, &ev.event_id) == 0);
	CHECK(wait_for(p, ev.event_id, 10000) == KFD_IOC_WAIT_RESULT_COMPLETE);
	pthread_join(thread, NULL);
	CHECK(wait_for(p, ev.event_id, 1) == KFD_IOC_WAIT_RESULT_TIMEOUT); /* it reset itself */
	CHECK(wait_for(p, 77, 1) == -EINVAL);
	gone.event_id = ev.event_id;
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_DESTROY_EVENT, &gone) == 0);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_DESTROY_EVENT, &gone) == -EINVAL);
}

static void queues(struct kfd_process *p)
{
	uint64_t ring = kfd_buffer(p, VA, 16384, RWX | KFD_IOC_ALLOC_MEM_FLAGS_GTT, 0, NULL);
	struct kfd_ioctl_create_queue_args q = {
		.ring_base_address = VA, .ring_size = 4096, .read_pointer_address = VA + 8192,
		.write_pointer_address = VA + 8200, .gpu_id = p->gpu_id, .queue_percentage = 100,
		.queue_type = KFD_IOC_QUEUE_TYPE_SDMA };
	struct kfd_ioctl_create_queue_args odd = q, nowhere = q;
	struct kfd_ioctl_destroy_queue_args gone;

	odd.ring_size = 5000;
	nowhere.ring_base_address = VA + (1 << 20);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_CREATE_QUEUE, &odd) == -EINVAL);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_CREATE_QUEUE, &nowhere) == -EINVAL);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_CREATE_QUEUE, &q) == 0);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, p->kfd,
		   (off_t)(q.doorbell_offset & ~8191ULL)) ==
	      MAP_FAILED); /* a part of the slice only */
	gone.queue_id = q.queue_id;
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_DESTROY_QUEUE, &gone) == 0);
	CHECK(kfd_call(p->kfd, AMDKFD_IOC_DESTROY_QUEUE, &gone) == -EINVAL);
	CHECK(unmap_free(p, ring) == 0);
}

/* SET or GET n attributes of a range. */
static int svm(struct kfd_process *p, uint32_t op, uint64_t at, uint64_t size,
	       struct kfd_ioctl_svm_attribute *attrs, uint32_t n)
{
	char space[sizeof(struct kfd_ioctl_svm_args) + 8 * sizeof(*attrs)] = { 0 };
	struct kfd_ioctl_svm_args *args = (void *)space;
	int r;

	*args = (struct kfd_ioctl_svm_args){ .start_addr = at, .size = size, .op = op, .nattr = n };
	memcpy(args->attrs, attrs, n * sizeof(*attrs));
	r = kfd_call(p->kfd, _IOC(_IOC_READ | _IOC_WRITE, 'K', 0x20, sizeof(space)), args);
	memcpy(attrs, args->attrs, n * sizeof(*attrs));
	return r;
}

static uint32_t granularity(struct kfd_process *p, uint64_t at, uint64_t size)
{
	struct kfd_ioctl_svm_attribute attr = { KFD_IOCTL_SVM_ATTR_GRANULARITY, 0 };

	NEED(svm(p, KFD_IOCTL_SVM_OP_GET_ATTR, at, size, &attr, 1) == 0);
	return attr.value;
}

static void shared_memory(struct kfd_process *p)
{
	char *mine =
		mmap(NULL, SVM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t at = (uintptr_t)mine;
	struct kfd_ioctl_svm_attribute five = { KFD_IOCTL_SVM_ATTR_GRANULARITY, 5 };
	struct kfd_ioctl_svm_attribute bad = { KFD_IOCTL_SVM_ATTR_ACCESS, 0xffff };
	struct kfd_ioctl_svm_attribute access[2] = { { KFD_IOCTL_SVM_ATTR_ACCESS, p->gpu_id },
						     { KFD_IOCTL_SVM_ATTR_SET_FLAGS, 0 } };

	NEED(mine != MAP_FAILED);
	CHECK(granularity(p, at, SVM_BYTES) == 9);
	CHECK(svm(p, KFD_IOCTL_SVM_OP_SET_ATTR, at + 8192, 8192, &five, 1) == 0);
	CHECK(granularity(p, at, 8192) == 9 && granularity(p, at + 8192, 8192) == 5);
	CHECK(svm(p, KFD_IOCTL_SVM_OP_SET_ATTR, at, SVM_BYTES, access, 1) == 0);
	CHECK(granularity(p, at, SVM_BYTES) == 5);	/* the least of three ranges */
	CHECK(svm(p, KFD_IOCTL_SVM_OP_GET_ATTR, at, SVM_BYTES, access, 2) == 0);
	CHECK(access[0].type == KFD_IOCTL_SVM_ATTR_ACCESS && access[1].value == 3);
	CHECK(svm(p, KFD_IOCTL_SVM_OP_SET_ATTR, at, 4096, &bad, 1) == -EINVAL);
	munmap(mine, SVM_BYTES);
	CHECK(svm(p, KFD_IOCTL_SVM_OP_SET_ATTR, at, SVM_BYTES, &five, 1) == -EFAULT);
}

static void faults(struct kfd_process *p)
{
	struct kfd_ioctl_criu_args args = { 0 };
	static const char rule[] = "kfd.0x22.0:2:16";
	int fd = open(FAULTS, O_WRONLY | O_CLOEXEC);

	NEED(fd >= 0 && write(fd, rule, sizeof(rule) - 1) == sizeof(rule) - 1);
	CHECK(write(fd, "kfd.0x22", 8) < 0 && errno == EINVAL);
	close(fd);
	CHECK(kfd_criu_op(p->kfd, KFD_CRIU_OP_PROCESS_INFO, &args) == 0);
	CHECK(kfd_criu_op(p->kfd, KFD_CRIU_OP_UNPAUSE, &args) == 0);
	CHECK(kfd_criu_op(p->kfd, KFD_CRIU_OP_PROCESS_INFO, &args) == -EBUSY);
	CHECK(kfd_criu_op(p->kfd, KFD_CRIU_OP_UNPAUSE, &args) == -EINVAL);
}

int main(void)
{
	struct kfd_process p;

	target_begin();
	kfd_open(&p, 1);
	owner(&p);
	buffers(&p);
	dmabufs(&p);
	events(&p);
	queues(&p);
	shared_memory(&p);
	faults(&p);
	return target_end();
}
