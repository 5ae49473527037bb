/* SPDX-License-Identifier: MIT */
/*
 * gpu_world.h - programs on a fake machine are dumped, and restored on another one.
 */
#ifndef STASIS_TEST_GPU_WORLD_H
#define STASIS_TEST_GPU_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "tests/fake/gpu.h"
#include "tests/unit/check.h"
#include "workers/gpu/amdgpu/operation.h"
#include "workers/gpu/amdgpu/uapi.h"

#define VRAM U_DOMAIN_VRAM
#define GTT U_DOMAIN_GTT
#define PAGE 4096ul

static const struct fake_gpu one_gpu[] = { { 0x1234, 128, false, 1ull << 30 } };
static const struct fake_gpu two_gpus[] = {
	{ 0x1234, 128, false, 1ull << 30 }, { 0x5678, 129, false, 1ull << 31 },
};
/* The same two, found in another order under other ids. */
static const struct fake_gpu two_others[] = {
	{ 0x9999, 140, false, 1ull << 31 }, { 0x8888, 150, false, 1ull << 30 },
};

/* One open file of a program. */
struct prop {
	uint32_t id;
	pid_t pid;
	int fd;
	bool kfd;
	int restored;			/* -1 */
};

struct scene {
	char path[40];			/* of the images */
	int dir;
	struct prop *prop;
	size_t n, cap;
	DeviceMap *map[8];
	size_t nmaps;
	bool compress;
	struct fault f;
	size_t rounds;			/* of the restore */
};

static inline void scene_begin(struct scene *s)
{
	*s = (struct scene){ .dir = -1 };
	strcpy(s->path, "/dev/shm/stasis-gpu-XXXXXX");
	if (!mkdtemp(s->path))
		die("mkdtemp");
	s->dir = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline void scene_add(struct scene *s, uint32_t id, pid_t pid, int fd, bool kfd)
{
	*(struct prop *)grow(&s->prop, s->n++, &s->cap, sizeof(struct prop)) =
		(struct prop){ id, pid, fd, kfd, -1 };
}

static inline void scene_close_restored(struct scene *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		auto_close((int[]){ take_fd(&s->prop[i].restored) });
}

static inline void scene_end(struct scene *s)
{
	AUTO_FREE char *rm = xasprintf("rm -rf %s", s->path);
	size_t i;

	for (i = 0; i < s->n; i++)
		auto_close(&s->prop[i].fd);
	scene_close_restored(s);
	free(s->prop);
	close(s->dir);
	if (system(rm) != 0)
		die("rm");
}

static inline void scene_message(const struct prop *p, DeviceFile *m, char *name, size_t size)
{
	device_file__init(m);
	snprintf(name, size, "task %d, file %u", p->pid, p->id);
	m->id = p->id;
	m->pid = p->pid;
	m->fd = p->fd;
	m->name = name;
	m->refusal = (char *)"refused";
}

static inline int scene_ask_tracer(struct amd *a, struct fake *w, const struct prop *p,
				   struct fault *f)
{
	GpuTraced t = GPU_TRACED__INIT;
	int *fds, r;

	fake_trace(w, p->pid, &t, &fds);
	t.id = p->id;
	r = op_traced(a, &t, fds, f) == HOOK_DONE ? 0 : -1;
	free(fds);
	free(t.devices.data);
	free(t.bos.data);
	free(t.priv_data.data);
	return r;
}

static inline int scene_dump_with(struct amd *a, struct scene *s, struct fake *w)
{
	struct stat st = { .st_mode = S_IFCHR };
	DeviceFile m;
	char name[40];
	size_t i;

	for (i = 0; i < s->n; i++) {
		enum hook_answer r;

		scene_message(&s->prop[i], &m, name, sizeof(name));
		r = op_wants_trace(a, &m, s->prop[i].fd, &s->f);
		if (r == HOOK_FAILED ||
		    (r == HOOK_DONE && scene_ask_tracer(a, w, &s->prop[i], &s->f) < 0))
			return -1;
	}
	for (i = 0; i < s->nmaps; i++) {
		st.st_rdev = s->map[i]->dev;
		if (op_handle_vma(a, s->map[i], &st, &s->f) != HOOK_DONE)
			return -1;
	}
	for (i = 0; i < s->n; i++) {
		scene_message(&s->prop[i], &m, name, sizeof(name));
		if (op_dump_file(a, &m, s->prop[i].fd, &s->f) != HOOK_DONE)
			return fault(&s->f, -ENOTSUP, "%s", m.refusal);
	}
	return op_dump_late(a, &s->f) == HOOK_DONE ? 0 : -1;
}

/* 0, or -1 with s->f set. */
static inline int scene_dump(struct scene *s, struct fake *w)
{
	struct device d = fake_device(w);
	struct fdstore *store = fdstore_new();
	struct botable *table = botable_new(&s->f);
	struct amd a = { 0 };
	int r = op_begin(&a, &d, s->dir, store, table, &s->f);

	a.compress = s->compress;
	if (r == 0)
		r = scene_dump_with(&a, s, w);
	op_end(&a);
	botable_free(table);
	fdstore_free(store);
	return r;
}

static inline void scene_entries(struct scene *s, GpuPrepare *req)
{
	size_t i;

	req->file = xcalloc(s->n, sizeof(*req->file));
	for (i = 0; i < s->n; i++) {
		DeviceEntry *e = req->file[i] = xcalloc(1, sizeof(*e));

		device_entry__init(e);
		e->id = s->prop[i].id;
		e->user = xcalloc(1, sizeof(*e->user));
		e->user[0] = xcalloc(1, sizeof(**e->user));
		device_user__init(e->user[0]);
		e->user[0]->pid = s->prop[i].pid;
		e->user[0]->fd = s->prop[i].id;
		e->n_user = 1;
		req->n_file++;
	}
}

/* Every file in the order of the scene, again and again; -1 when nothing moves. */
static inline int scene_make(struct amd *a, struct scene *s)
{
	size_t i, left = s->n, before = 0;

	for (s->rounds = 0; left && left != before; s->rounds++) {
		before = left;
		for (i = 0; i < s->n; i++) {
			enum hook_answer r;

			if (s->prop[i].restored >= 0)
				continue;
			r = op_restore_file(a, s->prop[i].id, NULL, 10, &s->prop[i].restored,
					    &s->f);
			if (r != HOOK_DONE && r != HOOK_RETRY)
				return -1;
			left -= r == HOOK_DONE;
		}
	}
	return left ? fault(&s->f, -EDEADLK, "%zu files wait for ever", left) : 0;
}

static inline int scene_prepare(struct amd *a, struct scene *s)
{
	GpuPrepare req = GPU_PREPARE__INIT;
	size_t i;
	int r;

	scene_entries(s, &req);
	r = op_prepare(a, &req, &s->f) == HOOK_DONE ? 0 : -1;
	for (i = 0; i < req.n_file; i++) {
		free(req.file[i]->user[0]);
		free(req.file[i]->user);
		free(req.file[i]);
	}
	free(req.file);
	return r;
}

/*
 * 0, or -1 with s->f set. more: called with everything made, before the end (maps). resume all.
 */
static inline int scene_restore(struct scene *s, struct fake *w,
				void (*more)(struct amd *a, struct scene *s))
{
	struct device d = fake_device(w);
	struct fdstore *store = fdstore_new();
	struct botable *table = botable_new(&s->f);
	struct amd a = { 0 };
	size_t i;
	int r = op_begin(&a, &d, s->dir, store, table, &s->f);

	if (r == 0)
		r = scene_prepare(&a, s);
	if (r == 0)
		r = scene_make(&a, s);
	if (r == 0 && more)
		more(&a, s);
	if (r == 0)
		r = op_barrier(&a, &s->f);
	for (i = 0; i < s->n && r == 0; i++)
		if (op_resume(&a, s->prop[i].pid, &s->f) == HOOK_FAILED)
			r = -1;
	op_end(&a);
	botable_free(table);
	fdstore_free(store);
	return r;
}

/* Bytes that depend on seed; sets or compares. */
static inline bool pattern(unsigned char *p, size_t n, unsigned int seed, bool set)
{
	size_t i;

	for (i = 0; i < n; i += 61) {
		unsigned char v = (i * 7 + seed * 131 + 17) & 0xff;

		if (set)
			p[i] = v;
		else if (p[i] != v)
			return false;
	}
	return true;
}

static inline bool with_buffer(struct fake *w, int fd, uint32_t handle, unsigned int seed, bool set)
{
	unsigned char *p = fake_bytes(w, fd, handle);
	bool same;

	if (p == MAP_FAILED)
		return false;
	same = pattern(p, fake_size(w, fd, handle), seed, set);
	munmap(p, fake_size(w, fd, handle));
	return same;
}

static inline bool with_kfd(struct fake *w, pid_t pid, uint64_t va, size_t size, unsigned int seed,
			    bool set)
{
	unsigned char *p = fake_kfd_bytes(w, pid, va);
	bool same;

	if (p == MAP_FAILED)
		return false;
	same = pattern(p, size, seed, set);
	munmap(p, size);
	return same;
}

#endif
