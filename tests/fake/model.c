/* SPDX-License-Identifier: MIT */
/*
 * model.c - look up and make what the model consists of.
 *
 * Holds:    nothing of its own: struct fake.
 */
#include "tests/fake/model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/control/util.h"

bool model_failing(struct fake *w)
{
	bool now;

	pthread_mutex_lock(&w->lock);
	now = ++w->calls == w->fail_at;
	pthread_mutex_unlock(&w->lock);
	if (now)
		errno = w->fail_errno;
	return now;
}

ino_t model_ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

struct bo *model_bo_by_ino(struct fake *w, ino_t ino)
{
	struct bo *b;

	for (b = w->slot[ino % SLOTS]; b && b->ino != ino; b = b->next)
		;
	return b;
}

struct file *model_file_by_ino(struct fake *w, ino_t ino)
{
	size_t i;

	for (i = 0; i < w->nfiles; i++)
		if (w->file[i].ino == ino)
			return &w->file[i];
	return NULL;
}

struct process *model_process_by_ino(struct fake *w, ino_t ino)
{
	size_t i;

	for (i = 0; i < w->nprocesses; i++)
		if (w->process[i].ino == ino)
			return &w->process[i];
	return NULL;
}

struct process *model_process_by_pid(struct fake *w, pid_t pid)
{
	size_t i;

	for (i = 0; i < w->nprocesses; i++)
		if (w->process[i].pid == pid)
			return &w->process[i];
	return NULL;
}

struct bo *model_bo_new(struct fake *w, size_t gpu, uint64_t size)
{
	struct bo *b = xcalloc(1, sizeof(*b));

	b->fd = memfd_create("buffer", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, size) < 0)
		die("the fake has no memory (%s, %zu descriptors)", strerror(errno),
		    fake_open_fds());
	b->ino = model_ino_of(b->fd);
	b->gpu = gpu;
	b->size = size;
	b->vm_of = -1;
	b->offset = w->next_offset[gpu];
	w->next_offset[gpu] += size;
	b->next = w->slot[b->ino % SLOTS];
	w->slot[b->ino % SLOTS] = b;
	return b;
}

struct bo *model_bo_of(struct file *f, uint32_t handle)
{
	return handle && handle < f->nhandles ? f->handle[handle] : NULL;
}

uint32_t model_handle_new(struct file *f, struct bo *b)
{
	uint32_t h;

	for (h = 1; h < f->nhandles && f->handle[h]; h++)
		;
	if (h >= f->nhandles) {
		uint32_t n = f->nhandles ? 2 * f->nhandles : 16;

		f->handle = xrealloc(f->handle, n, sizeof(*f->handle));
		memset(f->handle + f->nhandles, 0, (n - f->nhandles) * sizeof(*f->handle));
		f->nhandles = n;
	}
	f->handle[h] = b;
	return h;
}

int model_no(int err)
{
	errno = err;
	return -1;
}
