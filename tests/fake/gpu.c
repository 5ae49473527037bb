/* SPDX-License-Identifier: MIT */
/*
 * gpu.c - the world of tests/fake/gpu.h and the programs in it; the model is behind model.h.
 *
 * Rules are those of Linux's amdgpu, amdkfd and DRM core (reference: gpu-facts.md); a call that
 * breaks one gets the errno that the kernel gives.
 *
 * Holds:    a memfd per buffer and per open file, until fake_free.
 */
#include "tests/fake/gpu.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "tests/fake/model.h"

struct fake *fake_new(const struct fake_gpu *gpus, size_t n, const struct fake_ways *ways)
{
	struct fake *w = xcalloc(1, sizeof(*w));
	size_t i;

	memcpy(w->gpu, gpus, n * sizeof(*gpus));
	w->ngpus = n;
	if (ways)
		w->ways = *ways;
	pthread_mutex_init(&w->lock, NULL);
	for (i = 0; i < n; i++)
		w->next_offset[i] = FIRST_OFFSET + i * 0x1000;
	return w;
}

void fake_free(struct fake *w)
{
	struct bo *b, *next;
	size_t i;

	for (i = 0; i < SLOTS; i++)
		for (b = w->slot[i]; b; b = next) {
			next = b->next;
			close(b->fd);
			free(b);
		}
	for (i = 0; i < w->nfiles; i++) {
		free(w->file[i].handle);
		free(w->file[i].va);
	}
	for (i = 0; i < w->nprocesses; i++)
		free(w->process[i].kbo);
	free(w->file);
	free(w->process);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

struct device fake_device(struct fake *w)
{
	return (struct device){ &model_ops, w };
}

uint64_t fake_calls(const struct fake *w)
{
	return w->calls;
}

void fake_fail(struct fake *w, uint64_t n, int err)
{
	w->fail_at = n ? w->calls + n : 0;
	w->fail_errno = err;
}

uint64_t fake_engine_bytes(const struct fake *w)
{
	return w->engine_bytes;
}

/* ---- programs ---- */

int fake_open(struct fake *w, uint32_t minor)
{
	struct file *f;
	size_t i;
	int fd;

	for (i = 0; i < w->ngpus && w->gpu[i].minor != minor; i++)
		;
	if (i == w->ngpus)
		return -1;
	fd = memfd_create("node", MFD_CLOEXEC);
	pthread_mutex_lock(&w->lock);
	f = grow(&w->file, w->nfiles++, &w->files_cap, sizeof(*f));
	f->ino = model_ino_of(fd);
	f->gpu = i;
	pthread_mutex_unlock(&w->lock);
	return fd;
}

static struct file *node(struct fake *w, int fd)
{
	struct file *f = model_file_by_ino(w, model_ino_of(fd));

	if (!f)
		die("descriptor %d is no node of the fake", fd);
	return f;
}

uint32_t fake_create(struct fake *w, int fd, uint64_t size, uint32_t domains, uint64_t flags)
{
	union u_gem_create q = { .in = { size, 4096, domains, flags } };

	return model_create(w, node(w, fd), &q) < 0 ? 0 : q.out.handle;
}

uint32_t fake_userptr(struct fake *w, int fd, uint64_t size)
{
	uint32_t h = fake_create(w, fd, size, U_DOMAIN_GTT, 0);

	node(w, fd)->handle[h]->userptr = true;
	return h;
}

int fake_close_handle(struct fake *w, int fd, uint32_t handle)
{
	return model_close(w, node(w, fd), &(struct u_gem_close){ handle, 0 });
}

int fake_map(struct fake *w, int fd, uint32_t handle, uint64_t va, uint64_t offset, uint64_t size)
{
	return model_va(node(w, fd),
			&(struct u_gem_va){ handle, 0, U_VA_MAP, 0xe, va, offset, size });
}

int fake_export(struct fake *w, int fd, uint32_t handle)
{
	struct u_prime q = { .handle = handle };

	return model_export(node(w, fd), &q) < 0 ? -1 : q.fd;
}

uint32_t fake_import(struct fake *w, int fd, int dmabuf)
{
	struct u_prime q = { .fd = dmabuf };

	return model_import(w, node(w, fd), &q) < 0 ? 0 : q.handle;
}

void fake_add_context(struct fake *w, int fd)
{
	node(w, fd)->contexts++;
}

uint64_t fake_offset(struct fake *w, int fd, uint32_t handle)
{
	return model_bo_of(node(w, fd), handle)->offset;
}

uint64_t fake_key(struct fake *w, int fd, uint32_t handle)
{
	const struct bo *b = model_bo_of(node(w, fd), handle);

	return b ? b->ino : 0;
}

uint64_t fake_size(struct fake *w, int fd, uint32_t handle)
{
	return model_bo_of(node(w, fd), handle)->size;
}

unsigned char *fake_bytes(struct fake *w, int fd, uint32_t handle)
{
	const struct bo *b = model_bo_of(node(w, fd), handle);

	return b ? mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0) : MAP_FAILED;
}

char *fake_table(struct fake *w, int fd)
{
	const struct file *f = node(w, fd);
	char *text = xstrdup(""), *more;
	uint32_t h;
	size_t i;

	for (h = 1; h < f->nhandles; h++) {
		const struct bo *b = f->handle[h];

		if (!b)
			continue;
		more = xasprintf("%s%u:%llx,%llx,%llx,%llx ", text, h, (unsigned long long)b->size,
				 (unsigned long long)b->domains, (unsigned long long)b->flags,
				 (unsigned long long)b->tiling);
		free(text);
		text = more;
		for (i = 0; i < f->nva; i++) {
			if (f->va[i].handle != h)
				continue;
			more = xasprintf("%s@%llx+%llx/%llx ", text,
					 (unsigned long long)f->va[i].va,
					 (unsigned long long)f->va[i].size,
					 (unsigned long long)f->va[i].offset);
			free(text);
			text = more;
		}
	}
	return text;
}

uint32_t fake_minor(struct fake *w, int fd)
{
	return w->gpu[node(w, fd)->gpu].minor;
}

int fake_kfd_open(struct fake *w, pid_t pid, const int *vm, uint32_t objects)
{
	struct process *p = grow(&w->process, w->nprocesses++, &w->processes_cap, sizeof(*p));
	int fd = memfd_create("kfd", MFD_CLOEXEC);
	size_t i;

	p->pid = pid;
	p->ino = model_ino_of(fd);
	p->objects = objects;
	for (i = 0; i < w->ngpus; i++) {
		p->user_id[i] = w->gpu[i].gpu_id;
		p->vm[i] = model_node_index(w, vm[i]);
		w->file[p->vm[i]].vm_taken = true;
	}
	return fd;
}

int fake_kfd_bo(struct fake *w, pid_t pid, size_t gpu, uint64_t va, uint64_t size, uint32_t flags,
		uint64_t *offset)
{
	struct kbo *k = model_kbo_new(w, model_process_by_pid(w, pid), gpu, va, size, flags);

	if (offset)
		*offset = k->offset;
	return k->bo ? fcntl(k->bo->fd, F_DUPFD_CLOEXEC, 0) : -1;
}

int fake_trace(struct fake *w, pid_t pid, GpuTraced *out, int **fds)
{
	const struct process *p = model_process_by_pid(w, pid);
	struct kfd_bo_bucket *b;
	size_t i;

	out->pid = pid;
	out->num_devices = w->ngpus;
	out->num_bos = p->n;
	out->num_objects = p->objects;
	out->devices.len = w->ngpus * sizeof(struct kfd_device_bucket);
	out->devices.data = xcalloc(1, out->devices.len + 1);
	out->bos.len = p->n * sizeof(*b);
	out->bos.data = xcalloc(1, out->bos.len + 1);
	out->priv_data.len = model_priv_size(p, w->ngpus);
	out->priv_data.data = xcalloc(1, out->priv_data.len);
	b = (void *)out->bos.data;
	model_buckets(w, p, (void *)out->devices.data, b, out->priv_data.data);
	*fds = xcalloc(p->n + 1, sizeof(int));
	for (i = 0; i < p->n; i++)
		if (b[i].dmabuf_fd != KFD_NO_DMABUF)
			(*fds)[out->nfds++] = b[i].dmabuf_fd;
	return 0;
}

bool fake_resumed(struct fake *w, pid_t pid)
{
	const struct process *p = model_process_by_pid(w, pid);

	return p && p->resumed;
}

uint32_t fake_kfd_bos(struct fake *w, pid_t pid)
{
	const struct process *p = model_process_by_pid(w, pid);

	return p ? p->n : 0;
}

static const struct bo *kfd_bo_at(struct fake *w, pid_t pid, uint64_t va)
{
	const struct process *p = model_process_by_pid(w, pid);
	size_t i;

	for (i = 0; p && i < p->n; i++)
		if (p->kbo[i].va == va)
			return p->kbo[i].bo;
	return NULL;
}

unsigned char *fake_kfd_bytes(struct fake *w, pid_t pid, uint64_t va)
{
	const struct bo *b = kfd_bo_at(w, pid, va);

	return b ? mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0) : MAP_FAILED;
}

uint64_t fake_kfd_key(struct fake *w, pid_t pid, uint64_t va)
{
	const struct bo *b = kfd_bo_at(w, pid, va);

	return b ? b->ino : 0;
}

size_t fake_open_fds(void)
{
	AUTO_CLOSEDIR DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	while (d && readdir(d))
		n++;
	return n;
}
