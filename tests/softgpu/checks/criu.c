// SPDX-License-Identifier: MIT
/*
 * criu.c - the CRIU ioctl of /dev/kfd: a whole cycle with a ptrace parent, and everything it must
 * refuse.
 *
 * A child sets up buffers, events, queues and an SVM range. Its parent dumps it, kills it, and a
 * second child restores it from what was read; a dump of that one must give the same buckets,
 * contents and blob.
 */
#include "kfd_raw.h"
#include "../programs/target.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../programs/amd.h"

#define VRAM_VA 0x200000000000ULL
#define GTT_VA 0x200001000000ULL
#define USER_VA 0x200002000000ULL
#define DOOR_VA 0x200003000000ULL
#define RING_VA 0x200004000000ULL
#define SVM_VA 0x200005000000ULL
#define FLAGS (KFD_IOC_ALLOC_MEM_FLAGS_WRITABLE | KFD_IOC_ALLOC_MEM_FLAGS_EXECUTABLE)
#define VRAM_SIZE 65536u
#define GTT_SIZE 32768u
#define NODE_FD 20		/* the target's descriptors have known numbers */
#define KFD_FD 21

static void *memory_at(uint64_t va, uint64_t size)
{
	void *p = mmap((void *)va, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	NEED(p != MAP_FAILED);
	return p;
}

static void events(struct kfd_process *p, uint64_t page)
{
	struct kfd_ioctl_create_event_args a = {.event_page_offset = page,
						.event_type = KFD_IOC_EVENT_SIGNAL};
	struct kfd_ioctl_create_event_args b = {.event_type = KFD_IOC_EVENT_SIGNAL,
						.auto_reset = 1};
	struct kfd_ioctl_create_event_args c = { .event_type = KFD_IOC_EVENT_MEMORY };
	struct kfd_ioctl_set_event_args set;

	NEED(kfd_call(p->kfd, AMDKFD_IOC_CREATE_EVENT, &a) == 0 && a.event_id == 1);
	NEED(kfd_call(p->kfd, AMDKFD_IOC_CREATE_EVENT, &b) == 0 && b.event_id == 2);
	NEED(kfd_call(p->kfd, AMDKFD_IOC_CREATE_EVENT, &c) == 0 &&
	     c.event_id == KFD_SIGNAL_EVENT_LIMIT);
	set.event_id = b.event_id;
	NEED(kfd_call(p->kfd, AMDKFD_IOC_SET_EVENT, &set) == 0);
}

static void queue(struct kfd_process *p, uint32_t type, uint64_t ring)
{
	struct kfd_ioctl_create_queue_args q = {
		.ring_base_address = ring,
		.ring_size = 4096,
		.read_pointer_address = RING_VA + 8192,
		.write_pointer_address = RING_VA + 8200,
		.gpu_id = p->gpu_id,
		.queue_type = type,
		.queue_percentage = 100,
		.queue_priority = 7,
		.ctl_stack_size = 4096,
	};

	NEED(kfd_call(p->kfd, AMDKFD_IOC_CREATE_QUEUE, &q) == 0);
}

static void svm_range(struct kfd_process *p)
{
	char space[sizeof(struct kfd_ioctl_svm_args) + 3 * sizeof(struct kfd_ioctl_svm_attribute)] =
		{0};
	struct kfd_ioctl_svm_args *svm = (void *)space;

	memory_at(SVM_VA, 16 * 4096);
	svm->start_addr = SVM_VA + 4096;
	svm->size = 8 * 4096;
	svm->op = KFD_IOCTL_SVM_OP_SET_ATTR;
	svm->nattr = 3;
	svm->attrs[0] =
		(struct kfd_ioctl_svm_attribute){KFD_IOCTL_SVM_ATTR_PREFERRED_LOC, p->gpu_id};
	svm->attrs[1] = (struct kfd_ioctl_svm_attribute){ KFD_IOCTL_SVM_ATTR_ACCESS, p->gpu_id };
	svm->attrs[2] = (struct kfd_ioctl_svm_attribute){KFD_IOCTL_SVM_ATTR_CLR_FLAGS,
							 KFD_IOCTL_SVM_FLAG_COHERENT};
	NEED(kfd_call(p->kfd, _IOC(_IOC_READ | _IOC_WRITE, 'K', 0x20, sizeof(space)), svm) == 0);
}

static int target(void)
{
	struct kfd_process p;
	uint64_t offset, page;
	uint32_t *vram;

	kfd_open(&p, 1);
	NEED(dup2(p.drm, NODE_FD) == NODE_FD && dup2(p.kfd, KFD_FD) == KFD_FD);
	kfd_buffer(&p, DOOR_VA, 8192, FLAGS | KFD_IOC_ALLOC_MEM_FLAGS_DOORBELL, 0, &offset);
	NEED(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, p.kfd, (off_t)offset) !=
	     MAP_FAILED);
	kfd_buffer(&p, VRAM_VA, VRAM_SIZE,
		   FLAGS | KFD_IOC_ALLOC_MEM_FLAGS_VRAM | KFD_IOC_ALLOC_MEM_FLAGS_PUBLIC, 0,
		   &offset);
	vram = mmap((void *)VRAM_VA, VRAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    p.drm, (off_t)offset);
	NEED(vram != MAP_FAILED);
	fill(vram, 0, VRAM_SIZE, 1);
	page = kfd_buffer(&p, GTT_VA, GTT_SIZE, FLAGS | KFD_IOC_ALLOC_MEM_FLAGS_GTT, 0, NULL);
	memory_at(USER_VA, 16384);
	kfd_buffer(&p, USER_VA, 16384, FLAGS | KFD_IOC_ALLOC_MEM_FLAGS_USERPTR, USER_VA, NULL);
	kfd_buffer(&p, RING_VA, 16384, FLAGS | KFD_IOC_ALLOC_MEM_FLAGS_GTT, 0, NULL);
	events(&p, page);
	queue(&p, KFD_IOC_QUEUE_TYPE_COMPUTE_AQL, RING_VA);
	queue(&p, KFD_IOC_QUEUE_TYPE_SDMA, RING_VA + 4096);
	svm_range(&p);
	raise(SIGSTOP);
	pause();
	return 0;
}

/* A child that stops itself when it is set up. */
static pid_t stopped_child(int (*run)(void))
{
	pid_t pid = target_fork();
	int status;

	if (pid == 0)
		_exit(run());
	NEED(waitpid(pid, &status, WUNTRACED) == pid);
	NEED(WIFSTOPPED(status));
	return pid;
}

static int fd_of(pid_t pid, int number)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fd;

	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	close(pidfd);
	NEED(fd >= 0);
	return fd;
}

static void seize(pid_t pid)
{
	NEED(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct kfd_dump dump;

/* In the second child: from the dump, with "size" bytes of blob. */
static int restore_with(uint64_t size)
{
	struct kfd_ioctl_criu_args args = dump.args;
	struct kfd_process p;
	int r;

	kfd_open(&p, 0);
	NEED(dup2(p.drm, NODE_FD) == NODE_FD && dup2(p.kfd, KFD_FD) == KFD_FD);
	memory_at(USER_VA, 16384);
	memory_at(SVM_VA, 16 * 4096);
	dump.devices[0].drm_fd = NODE_FD;
	args.priv_data_size = size;
	r = kfd_criu_op(p.kfd, KFD_CRIU_OP_RESTORE, &args);
	if (r)
		return r;
	for (uint32_t i = 0; i < args.num_bos; i++) {
		struct kfd_criu_bo_bucket *bo = &dump.bos[i];
		void *to;

		if (bo->dmabuf_fd == KFD_INVALID_FD)
			continue;
		to = mmap(NULL, bo->size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)bo->dmabuf_fd,
			  0);
		NEED(to != MAP_FAILED);
		memcpy(to, dump.contents[i], bo->size);
		munmap(to, bo->size);
		close((int)bo->dmabuf_fd);
	}
	return 0;
}

static int restored(void)
{
	NEED(restore_with(dump.args.priv_data_size) == 0);
	raise(SIGSTOP);
	pause();
	return 0;
}

/* Each wrong input in a process of its own, as a failed restore leaves what it made. */
static int refused(int what)
{
	pid_t pid = target_fork();
	int status;

	if (pid == 0) {
		struct kfd_process p;
		struct kfd_ioctl_acquire_vm_args vm;
		int r;

		if (what == 1)
			dump.blob[0] ^= 1;			/* version */
		else if (what == 2)
			dump.args.num_devices++;
		else if (what == 3)
			dump.args.num_objects--;		/* blob not used up */
		else if (what == 4) {
			kfd_open(&p, 0);			/* somebody acquired the VM */
			vm = (struct kfd_ioctl_acquire_vm_args){ (uint32_t)p.drm, p.gpu_id };
			NEED(kfd_call(p.kfd, AMDKFD_IOC_ACQUIRE_VM, &vm) == 0);
		}
		r = restore_with(dump.args.priv_data_size + (what == 5) - (what == 6));
		_exit(-r);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_dump(pid_t pid)
{
	struct kfd_ioctl_criu_args args = { 0 };
	int kfd = fd_of(pid, KFD_FD);

	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_PROCESS_INFO, &args) == -EBADF);	/* not its tracer */
	seize(pid);
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_UNPAUSE, &args) == -EINVAL);
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_PROCESS_INFO, &args) == 0);
	CHECK(args.pid == (uint32_t)pid && args.num_bos == 5 && args.num_objects == 6);
	args.num_bos--;
	args.devices = args.bos = args.priv_data = 4096;
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_CHECKPOINT, &args) == -EINVAL);
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_UNPAUSE, &args) == 0);
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_CHECKPOINT, &args) == -EINVAL);	/* not paused */
	NEED(kfd_dump_take(kfd, &dump) == 0);
	CHECK(dump.args.priv_data_size ==
	      8 + 8 + 5 * 272 + (120 + 2048 + 4096) + (120 + 512) + 3 * 64 + 24 + 5 * 8);
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_UNPAUSE, &args) == 0);
	CHECK(kfd_call(kfd, AMDKFD_IOC_GET_VERSION, &args) ==
	      -EBADF); /* only the CRIU ioctl, even so */
	close(kfd);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

static void check_restored(pid_t pid)
{
	struct kfd_ioctl_criu_args args = {.pid = (uint32_t)pid}, own = {.pid = (uint32_t)getpid()};
	struct kfd_dump first = dump, second;
	int mine = open("/dev/kfd", O_RDWR | O_CLOEXEC), kfd = fd_of(pid, KFD_FD);

	CHECK(kfd_criu_op(mine, KFD_CRIU_OP_RESUME, &args) == 0);
	CHECK(kfd_criu_op(mine, KFD_CRIU_OP_RESUME, &args) == -EINVAL);
	CHECK(kfd_criu_op(mine, KFD_CRIU_OP_RESUME, &own) == -EINVAL);		/* never restored */
	own.pid = 1;
	CHECK(kfd_criu_op(mine, KFD_CRIU_OP_RESUME, &own) == -ESRCH);
	close(mine);
	seize(pid);
	NEED(kfd_dump_take(kfd, &second) == 0);
	CHECK(kfd_criu_op(kfd, KFD_CRIU_OP_UNPAUSE, &args) == 0);
	CHECK(second.args.priv_data_size == first.args.priv_data_size &&
	      second.args.num_bos == first.args.num_bos);
	CHECK(memcmp(second.blob, first.blob, first.args.priv_data_size) == 0);
	for (uint32_t i = 0; i < first.args.num_bos; i++) {
		const struct kfd_criu_bo_bucket *a = &first.bos[i], *b = &second.bos[i];

		CHECK(a->addr == b->addr && a->size == b->size && a->gpu_id == b->gpu_id &&
		      a->alloc_flags == b->alloc_flags);
		CHECK(!first.contents[i] == !second.contents[i]);
		if (first.contents[i] && second.contents[i])
			CHECK(memcmp(first.contents[i], second.contents[i], a->size) == 0);
	}
	close(kfd);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

int main(void)
{
	pid_t pid;

	target_begin();
	pid = stopped_child(target);
	check_dump(pid);
	end_child(pid);
	for (int i = 1; i <= 6; i++)
		if (!CHECK(refused(i) == EINVAL))
			printf("failed: wrong input %d\n", i);
	pid = stopped_child(restored);
	check_restored(pid);
	end_child(pid);
	return target_end();
}
