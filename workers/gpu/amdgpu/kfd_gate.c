/* SPDX-License-Identifier: MIT */
/*
 * kfd_gate.c - AMDKFD_IOC_CRIU_OP RESTORE, made by the task that is restored.
 *
 * The kernel ties /dev/kfd to the process that opens it and looks up the render nodes in its table;
 * the descriptors of buffers appear there as well. So: render nodes, and a memfd with the arguments
 * (megabytes for thousands of buffers), are placed in the task for the moment; then one hold of its
 * gate maps the arguments, opens /dev/kfd, restores, lets us fetch what came (pidfd_getfd), and
 * undoes all that. Who else maps memory in the task needs the gate as well, so the place of the
 * arguments is ours for that long.
 *
 * Rights:   ptrace rights over the task.
 * Holds:    the gate, from the opening to the last close.
 */
#include "workers/gpu/amdgpu/kfd_gate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/common/procfs.h"

#define TIMEOUT_MS 60000		/* it allocates and maps all buffers */

/* The arguments, in memory that both see. Offsets from its start. */
struct letter {
	int fd;
	char *here;
	size_t size;
	size_t devices, bos, priv;
};

static size_t take_room(size_t *size, size_t n)
{
	size_t at = *size;

	*size += (n + 63) & ~63ul;
	return at;
}

static void letter_free(struct letter *l)
{
	if (l->here)
		munmap(l->here, l->size);
	auto_close(&l->fd);
}

/* struct kfd_criu_args, then what it points to. The pointers are set when the task has mapped it.
 */
static int letter_write(struct letter *l, const struct kfd_order *o, struct fault *f)
{
	const struct kfd_criu_args *a = &o->args;
	struct kfd_device_bucket *d;
	uint32_t i;
	void *p;

	take_room(&l->size, sizeof(*a));
	l->devices = take_room(&l->size, a->num_devices * sizeof(*o->devices));
	l->bos = take_room(&l->size, a->num_bos * sizeof(*o->bos));
	l->priv = take_room(&l->size, a->priv_data_size);
	l->fd = memfd_create("stasis-kfd", MFD_CLOEXEC);
	if (l->fd < 0 || ftruncate(l->fd, l->size) < 0)
		return fault(f, errno, "make room for %zu bytes of KFD's state", l->size);
	p = mmap(NULL, l->size, PROT_READ | PROT_WRITE, MAP_SHARED, l->fd, 0);
	if (p == MAP_FAILED)
		return fault(f, errno, "map %zu bytes of KFD's state", l->size);
	l->here = p;
	d = (struct kfd_device_bucket *)(l->here + l->devices);
	for (i = 0; i < a->num_devices; i++) {
		d[i] = o->devices[i];
		d[i].drm_fd = o->spare_fd + 1 + i;
	}
	if (a->num_bos)
		memcpy(l->here + l->bos, o->bos, a->num_bos * sizeof(*o->bos));
	if (a->priv_data_size)
		memcpy(l->here + l->priv, o->priv_data, a->priv_data_size);
	return 0;
}

static void letter_address(struct letter *l, const struct kfd_order *o, uint64_t base)
{
	struct kfd_criu_args a = o->args;

	a.op = KFD_CRIU_RESTORE;
	a.devices = base + l->devices;
	a.bos = base + l->bos;
	a.priv_data = base + l->priv;
	memcpy(l->here, &a, sizeof(a));
}

/* The render nodes at spare_fd + 1 and up, the letter behind them. */
static int place_files(const struct kfd_order *o, const struct letter *l, struct fault *f)
{
	uint32_t i, n = o->args.num_devices;
	AUTO_FREE int *fds = xcalloc(n + 1, sizeof(int));
	AUTO_FREE int *at = xcalloc(n + 1, sizeof(int));
	AUTO_FREE int *flags = xcalloc(n + 1, sizeof(int));

	for (i = 0; i <= n; i++) {
		fds[i] = i < n ? (int)o->devices[i].drm_fd : l->fd;
		at[i] = o->spare_fd + 1 + i;
		flags[i] = O_CLOEXEC;
	}
	return gate_pass_fds(o->gate, o->spare_fd, fds, at, flags, n + 1, f);
}

static int64_t one_op(struct batch *b, int op, struct fault *f)
{
	return batch_run(b, TIMEOUT_MS, f) < 0 ? -EIO : batch_result(b, 0, op);
}

/* Open /dev/kfd, and restore unless there is nothing to. *kfd: its number in the task. */
static int call_kfd(struct batch *b, const struct kfd_order *o, struct letter *l, int *kfd,
		    struct fault *f)
{
	uint64_t path = batch_put_str(b, "/dev/kfd");
	int64_t r, base;

	r = one_op(b,
		   batch_op(b, 0, 0, SYS_openat, 3, gc(AT_FDCWD), ga(path), gc(O_RDWR | O_CLOEXEC)),
		   f);
	if (r < 0)
		return fault(f, -r, "open /dev/kfd in the task");
	*kfd = r;
	if (!o->args.num_devices)
		return 0;
	base = one_op(b,
		      batch_op(b, 0, 0, SYS_mmap, 6, gc(0), gc(l->size), gc(PROT_READ | PROT_WRITE),
			       gc(MAP_SHARED), gc(o->spare_fd + 1 + o->args.num_devices), gc(0)),
		      f);
	if (base < 0 && base >= -4095)
		return fault(f, -base, "map %zu bytes of KFD's state in the task", l->size);
	letter_address(l, o, base);
	r = one_op(b, batch_op(b, 0, 0, SYS_ioctl, 3, gc(*kfd), gc(KFD_IOC_CRIU_OP), gc(base)), f);
	batch_op(b, 0, 0, SYS_munmap, 2, gc(base), gc(l->size));
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	return r < 0 ? fault(f, -r, "KFD does not restore its process (see the kernel's log)") : 0;
}

static int fetch(int pidfd, int fd, const char *what, struct fault *f)
{
	int here = syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return here < 0 ? fault(f, errno, "fetch %s from the task", what) : here;
}

static bool has_dmabuf(const struct kfd_bo_bucket *b)
{
	return b->alloc_flags & KFD_BO_MEMORY;
}

/* theirs: the buckets as the kernel left them, with numbers of the task. */
static int fetch_all(const struct kfd_order *o, const struct kfd_bo_bucket *theirs, int kfd_fd,
		     int *kfd, struct fault *f)
{
	AUTO_CLOSE int pidfd = procfs_pidfd(o->pid);
	uint32_t i;
	int fd;

	if (pidfd < 0)
		return fault(f, errno, "watch the task");
	*kfd = fetch(pidfd, kfd_fd, "/dev/kfd", f);
	if (*kfd < 0)
		return -1;
	for (i = 0; i < o->args.num_bos; i++) {
		o->bos[i].restored_offset = theirs[i].restored_offset;
		if (!has_dmabuf(&o->bos[i]))
			continue;
		fd = fetch(pidfd, theirs[i].dmabuf_fd, "a buffer", f);
		if (fd < 0)
			return -1;
		o->bos[i].dmabuf_fd = fd;
	}
	return 0;
}

/* Close in the task: its buffers and /dev/kfd (its table is filled later). */
static int close_theirs(struct batch *b, const struct kfd_order *o,
			const struct kfd_bo_bucket *theirs, int kfd_fd, struct fault *f)
{
	uint32_t i;

	for (i = 0; i < o->args.num_bos; i++) {
		if (!has_dmabuf(&o->bos[i]))
			continue;
		if (batch_op(b, 0, 0, SYS_close, 1, gc((int)theirs[i].dmabuf_fd)) >= 0)
			continue;
		if (batch_run(b, TIMEOUT_MS, f) < 0)
			return -1;
		i--;			/* once more, in an empty list */
	}
	if (batch_op(b, 0, 0, SYS_close, 1, gc(kfd_fd)) < 0) {
		if (batch_run(b, TIMEOUT_MS, f) < 0)
			return -1;
		batch_op(b, 0, 0, SYS_close, 1, gc(kfd_fd));
	}
	return batch_run(b, TIMEOUT_MS, f);
}

static int close_files(struct batch *b, const struct kfd_order *o, struct fault *f)
{
	batch_op(b, 0, 0, SYS_close_range, 3, gc(o->spare_fd + 1),
		 gc(o->spare_fd + 1 + o->args.num_devices), gc(0));
	return batch_run(b, TIMEOUT_MS, f);
}

static int restore(struct kfd_order *o, struct letter *l, int *kfd, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(o->gate);
	AUTO_FREE struct kfd_bo_bucket *theirs = xcalloc(o->args.num_bos + 1, sizeof(*theirs));
	int kfd_fd = -1, r;

	if (call_kfd(b, o, l, &kfd_fd, f) < 0)
		return -1;
	if (o->args.num_devices && o->args.num_bos)
		memcpy(theirs, l->here + l->bos, o->args.num_bos * sizeof(*theirs));
	r = fetch_all(o, theirs, kfd_fd, kfd, f);
	if (close_theirs(b, o, theirs, kfd_fd, f) < 0 ||
	    (o->args.num_devices && close_files(b, o, f) < 0))
		r = -1;
	return r;
}

static int order(struct kfd_order *o, struct letter *l, int *kfd, struct fault *f)
{
	if (!o->gate)
		return fault(f, -ESRCH, "it has no agent");
	if (!o->args.num_devices && o->args.num_bos)
		return fault(f, -EINVAL, "buffers without a GPU");
	if (!o->args.num_devices)
		return restore(o, l, kfd, f);
	if (o->spare_fd < 0)
		return fault(f, -EINVAL, "no descriptor numbers are known to be free");
	if (letter_write(l, o, f) < 0 || place_files(o, l, f) < 0)
		return -1;
	return restore(o, l, kfd, f);
}

int kfd_gate_restore(void *ctx, struct kfd_order *o, struct fault *f)
{
	struct letter l = { .fd = -1 };
	int kfd = -1, r;
	uint32_t i;

	(void)ctx;
	for (i = 0; i < o->args.num_bos; i++)
		o->bos[i].dmabuf_fd = KFD_NO_DMABUF;
	r = order(o, &l, &kfd, f);
	letter_free(&l);
	if (r == 0)
		return kfd;
	auto_close(&kfd);
	for (i = 0; i < o->args.num_bos; i++) {
		if (o->bos[i].dmabuf_fd != KFD_NO_DMABUF)
			close(o->bos[i].dmabuf_fd);
		o->bos[i].dmabuf_fd = KFD_NO_DMABUF;
	}
	return fault_prefix(f, "task %d", o->pid);
}
