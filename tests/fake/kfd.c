/* SPDX-License-Identifier: MIT */
/*
 * kfd.c - KFD, by the rules of Linux's amdkfd.
 *
 * Holds:    nothing of its own: struct fake.
 */
#include "tests/fake/model.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/control/util.h"

size_t model_priv_size(const struct process *p, size_t ngpus)
{
	return 8 + ngpus * 8 + p->n * 16 + p->objects * 8;
}

void model_buckets(const struct fake *w, const struct process *p, struct kfd_device_bucket *d,
		    struct kfd_bo_bucket *b, uint8_t *priv)
{
	size_t i;

	for (i = 0; i < w->ngpus; i++)
		d[i] = (struct kfd_device_bucket){ p->user_id[i], w->gpu[i].gpu_id, 0, 0 };
	for (i = 0; i < p->n; i++) {
		const struct kbo *k = &p->kbo[i];

		b[i] = (struct kfd_bo_bucket) { k->va,	   k->size,  k->offset,	    0,
						k->gpu_id, k->flags, KFD_NO_DMABUF, 0 };
		if (k->bo)
			b[i].dmabuf_fd = fcntl(k->bo->fd, F_DUPFD, 0);
	}
	memset(priv, 0xa5, model_priv_size(p, w->ngpus));
	memcpy(priv, &(uint32_t){ 1 }, 4);
}

static int kfd_resume_op(struct fake *w, const struct kfd_criu_args *a)
{
	struct process *p = model_process_by_pid(w, a->pid);

	if (!p)
		return model_no(ESRCH);
	if (!p->blocked)
		return model_no(EINVAL);
	p->blocked = false;
	p->resumed = true;
	return 0;
}

int model_kfd_ioctl(struct fake *w, unsigned long nr, void *arg)
{
	struct kfd_criu_args *a = arg;

	if (nr == KFD_IOC_GET_VERSION) {
		*(struct kfd_version *)arg = (struct kfd_version) { 1, w->ways.kfd_minor
									       ? w->ways.kfd_minor
									       : 17 };
		return 0;
	}
	return nr == KFD_IOC_CRIU_OP && a->op == KFD_CRIU_RESUME ? kfd_resume_op(w, a) :
								   model_no(EINVAL);
}

static size_t gpu_by_id(const struct fake *w, uint32_t gpu_id)
{
	size_t i;

	for (i = 0; i < w->ngpus && w->gpu[i].gpu_id != gpu_id; i++)
		;
	return i;
}

int64_t model_node_index(struct fake *w, int fd)
{
	struct file *f = model_file_by_ino(w, model_ino_of(fd));

	return f ? f - w->file : -1;
}

/* The offset in /dev/kfd of a doorbell or register page. */
static uint64_t kfd_offset(uint32_t flags, uint32_t gpu_id)
{
	return (flags & KFD_BO_DOORBELL ? 3ull << 62 : 0) | (uint64_t)gpu_id
								    << KFD_OFFSET_GPU_SHIFT;
}

struct kbo *model_kbo_new(struct fake *w, struct process *p, size_t gpu, uint64_t va,
			   uint64_t size, uint32_t flags)
{
	struct kbo *k = grow(&p->kbo, p->n++, &p->cap, sizeof(*k));

	*k = (struct kbo){ NULL, va, size, 0, flags, p->user_id[gpu] };
	if (flags & KFD_BO_MEMORY) {
		k->bo = model_bo_new(w, gpu, size);
		k->bo->domains = flags & KFD_BO_VRAM ? U_DOMAIN_VRAM : U_DOMAIN_GTT;
		k->bo->vm_of = p->vm[gpu];
		k->bo->exported = true;
		k->offset = k->bo->offset;
	} else if (!(flags & KFD_BO_USERPTR)) {
		k->offset = kfd_offset(flags, w->gpu[gpu].gpu_id);
	}
	return k;
}

static int restore_devices(struct fake *w, struct process *p, const struct kfd_order *o,
			   struct fault *f)
{
	uint32_t i;

	if (o->args.num_devices != w->ngpus)
		return fault(f, EINVAL, "%u GPUs, not %zu", o->args.num_devices, w->ngpus);
	for (i = 0; i < o->args.num_devices; i++) {
		size_t g = gpu_by_id(w, o->devices[i].actual_gpu_id);
		int64_t node = model_node_index(w, o->devices[i].drm_fd);

		if (g == w->ngpus || node < 0 || w->file[node].gpu != g)
			return fault(f, EINVAL, "GPU %#x", o->devices[i].actual_gpu_id);
		if (w->file[node].vm_taken)
			return fault(f, EBUSY, "node of GPU %#x", o->devices[i].actual_gpu_id);
		w->file[node].vm_taken = true;
		p->user_id[g] = o->devices[i].user_gpu_id;
		p->vm[g] = node;
	}
	return 0;
}

static int restore_bos(struct fake *w, struct process *p, struct kfd_order *o, struct fault *f)
{
	uint32_t i;
	size_t g;

	for (i = 0; i < o->args.num_bos; i++) {
		struct kfd_bo_bucket *b = &o->bos[i];
		struct kbo *k;

		for (g = 0; g < w->ngpus && p->user_id[g] != b->gpu_id; g++)
			;
		if (g == w->ngpus)
			return fault(f, EINVAL, "buffer on GPU %#x", b->gpu_id);
		k = model_kbo_new(w, p, g, b->addr, b->size, b->alloc_flags);
		b->restored_offset = k->offset;
		if (k->bo)
			b->dmabuf_fd = fcntl(k->bo->fd, F_DUPFD_CLOEXEC, 0);
	}
	return 0;
}

static int check_priv(const struct fake *w, const struct process *p, const struct kfd_order *o,
		      struct fault *f)
{
	if (o->args.priv_data_size == model_priv_size(p, w->ngpus))
		return 0;
	return fault(f, EINVAL, "state of %llu bytes", (unsigned long long)o->args.priv_data_size);
}

int model_kfd_restore(void *ctx, struct kfd_order *o, struct fault *f)
{
	struct fake *w = ctx;
	struct process *p;
	uint32_t i;
	int fd;

	if (model_failing(w))
		return fault(f, errno, "restore KFD");
	if (model_process_by_pid(w, o->pid))
		return fault(f, EINVAL, "task %d has a KFD process", o->pid);
	p = grow(&w->process, w->nprocesses++, &w->processes_cap, sizeof(*p));
	p->pid = o->pid;
	p->objects = o->args.num_objects;
	p->blocked = o->args.num_devices > 0;
	for (i = 0; i < o->args.num_bos; i++)
		o->bos[i].dmabuf_fd = KFD_NO_DMABUF;
	if (o->args.num_devices && (restore_devices(w, p, o, f) < 0 ||
				    restore_bos(w, p, o, f) < 0 || check_priv(w, p, o, f) < 0)) {
		for (i = 0; i < o->args.num_bos; i++)
			if (o->bos[i].dmabuf_fd != KFD_NO_DMABUF)
				close(o->bos[i].dmabuf_fd);
		return -1;
	}
	fd = memfd_create("kfd", MFD_CLOEXEC);
	p->ino = model_ino_of(fd);
	return fd;
}
