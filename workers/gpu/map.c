/* SPDX-License-Identifier: MIT */
/*
 * map.c - restore: memory of devices is mapped into the tasks.
 *
 * mem has kept the places. The file comes from a driver, or is opened by the task itself, which is
 * then the device's owner; either way it stands at a spare number for a moment. What follows each
 * other in one task and is of one file goes in one series, because a visit to the task costs more
 * than a mapping.
 *
 * Rights:   the tasks' gates.
 * Holds:    nothing.
 */
#include "workers/gpu/map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/gpu/drivers.h"
#include "workers/gpu/gpu.h"

#define TIMEOUT_MS 30000
#define SERIES_MAX 512

struct place {
	const DeviceMap *map;
	uint64_t offset;
	int fd;				/* ours; -1: the task opens the path */
	int op;				/* of its mmap */
};

/* Mappings of one file in one task. */
struct series {
	struct place place[SERIES_MAX];
	size_t n;
};

static enum hook_answer ask_update(struct driver *d, void *arg, struct fault *f)
{
	struct place *p = arg;

	return d->ops->update_map ? d->ops->update_map(d, p->map, &p->offset, &p->fd, f)
				  : HOOK_NOT_MINE;
}

static int open_there(struct gate *g, const DeviceMap *m, int spare, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	uint64_t at = batch_put_str(b, m->path);
	int opened;

	if (at == UINT64_MAX)
		return fault(f, -ENAMETOOLONG, "open %.200s", m->path);
	opened = batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_openat, 3, gc(AT_FDCWD), ga(at),
			  gc((m->open_flags & O_ACCMODE) | O_CLOEXEC));
	batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_dup3, 3, gr(opened), gc(spare), gc(O_CLOEXEC));
	batch_op(b, 0, 0, SYS_close, 1, gr(opened));
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, opened) < 0)
		return fault(f, -batch_result(b, 0, opened), "open %.200s", m->path);
	return 0;
}

static int advise(struct batch *b, const DeviceMap *m)
{
	int advice;

	for (advice = 0; advice < 64; advice++)
		if (m->madv & 1ull << advice && batch_op(b, 0, 0, SYS_madvise, 3, gc(m->start),
							 gc(m->end - m->start), gc(advice)) < 0)
			return -1;
	return 0;
}

/*
 * Over the place that mem kept. -1: no room for it in this batch, whatever of it is there does no
 * harm.
 */
static int add_map(struct batch *b, struct place *p, int spare)
{
	const DeviceMap *m = p->map;
	const uint64_t flags = (m->flags & (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE)) | MAP_FIXED;

	p->op = batch_op(b, 0, 0, SYS_mmap, 6, gc(m->start), gc(m->end - m->start), gc(m->prot),
			 gc(flags), gc(spare), gc(p->offset));
	return p->op < 0 ? -1 : advise(b, m);
}

static int in_mapping(struct fault *f, const DeviceMap *m)
{
	return fault_prefix(f, "task %u, mapping %llx", m->pid, (unsigned long long)m->start);
}

static int run_maps(struct batch *b, const struct place *p, size_t n, struct fault *f)
{
	size_t i;

	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		const DeviceMap *m = p[i].map;
		int64_t at = batch_result(b, 0, p[i].op);

		if (at == (int64_t)m->start)
			continue;
		fault(f, at < 0 && at > -4096 ? (int)-at : EEXIST, "map %llu bytes from offset "
		      "%llx of %.200s", (unsigned long long)(m->end - m->start),
		      (unsigned long long)p[i].offset, m->path);
		return in_mapping(f, m);
	}
	return 0;
}

/* In as many batches as it takes; then the number is free again. */
static int map_there(struct gate *g, struct series *s, int spare, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	size_t from = 0, i;

	for (i = 0; i < s->n; i++) {
		if (add_map(b, &s->place[i], spare) == 0)
			continue;
		if (i == from)
			return fault(f, -ENOSPC, "task %u: its agent's arena is too small",
				     s->place[i].map->pid);
		if (run_maps(b, s->place + from, i - from, f) < 0)
			return -1;
		batch_reset(b);
		from = i--;
	}
	if (run_maps(b, s->place + from, i - from, f) < 0)
		return -1;
	batch_reset(b);
	batch_op(b, 0, 0, SYS_close, 1, gc(spare));
	return batch_run(b, TIMEOUT_MS, f);
}

static int map_series(struct gpu *g, struct series *s, struct fault *f)
{
	struct place *p = s->place;
	struct gate *gate = gpu_gate(g, p->map->pid);
	int spare = gpu_spare_fd(g, p->map->pid), r;
	const int flags = O_CLOEXEC;

	if (!gate)
		return fault(f, -EPROTO, "task %u is not in the tree", p->map->pid);
	/* Ours stands at the first spare number, its channel at the second. */
	r = p->fd < 0 ? open_there(gate, p->map, spare, f)
		      : gate_pass_fds(gate, spare + 1, &p->fd, &spare, &flags, 1, f);
	return r < 0 ? in_mapping(f, p->map) : map_there(gate, s, spare, f);
}

static void forget(struct series *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		auto_close(&s->place[i].fd);
	s->n = 0;
}

static bool of_one_file(const struct place *a, const struct place *b)
{
	if (a->fd < 0 || b->fd < 0)
		return a->fd < 0 && b->fd < 0 && a->map->open_flags == b->map->open_flags &&
		       strcmp(a->map->path, b->map->path) == 0;
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a->fd, b->fd) == 0;
}

/* One more; those before it are mapped when it is not of their series. */
static int add_place(struct gpu *g, struct series *s, const DeviceMap *m, struct fault *f)
{
	struct place p = { .map = m, .offset = m->offset, .fd = -1 };
	int r = 0;

	if (drivers_first(g, ask_update, &p, f) == HOOK_FAILED)
		return in_mapping(f, m);
	if (s->n &&
	    (s->n == SERIES_MAX || s->place->map->pid != m->pid || !of_one_file(s->place, &p))) {
		r = map_series(g, s, f);
		forget(s);
	}
	if (s->n)
		auto_close(&p.fd);	/* the first one's does for all */
	s->place[s->n++] = p;
	return r;
}

int on_gpu_map(struct call *c, struct fault *f)
{
	struct gpu *g = gpu_begin(c);
	AUTO_FREE struct series *s = xcalloc(1, sizeof(*s));
	size_t i, n = g->prepared ? g->prepared->n_map : 0;
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = add_place(g, s, g->prepared->map[i], f);
	if (s->n && !r)
		r = map_series(g, s, f);
	forget(s);
	return r;
}
