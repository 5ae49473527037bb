/* SPDX-License-Identifier: MIT */
/*
 * map.c - restore: memory of devices is mapped into the tasks.
 *
 * mem has kept the places. The file comes from a driver, or is opened by the task itself, which is
 * then the device's owner; either way it stands at a spare number for a moment.
 *
 * Rights:   the tasks' gates.
 * Holds:    nothing.
 */
#include "workers/gpu/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/gpu/drivers.h"
#include "workers/gpu/gpu.h"

#define TIMEOUT_MS 30000

struct place {
	const DeviceMap *map;
	uint64_t offset;
	int fd;				/* ours; -1: the task opens the path */
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

static void advise(struct batch *b, const DeviceMap *m)
{
	int advice;

	for (advice = 0; advice < 64; advice++)
		if (m->madv & 1ull << advice)
			batch_op(b, 0, 0, SYS_madvise, 3, gc(m->start), gc(m->end - m->start),
				 gc(advice));
}

/* Over the place that mem kept, then the number is free again. */
static int map_there(struct gate *g, const struct place *p, int spare, struct fault *f)
{
	const DeviceMap *m = p->map;
	const uint64_t flags = (m->flags & (MAP_SHARED | MAP_PRIVATE | MAP_NORESERVE)) | MAP_FIXED;
	AUTO_BATCH struct batch *b = batch_begin(g);
	int map = batch_op(b, 0, 0, SYS_mmap, 6, gc(m->start), gc(m->end - m->start), gc(m->prot),
			   gc(flags), gc(spare), gc(p->offset));
	int64_t at;

	batch_op(b, 0, 0, SYS_close, 1, gc(spare));
	advise(b, m);
	if (batch_run(b, TIMEOUT_MS, f) < 0)
		return -1;
	at = batch_result(b, 0, map);
	if (at != (int64_t)m->start)
		return fault(f, at < 0 && at > -4096 ? (int)-at : EEXIST,
			     "map %llu bytes from offset %llx of %.200s",
			     (unsigned long long)(m->end - m->start), (unsigned long long)p->offset,
			     m->path);
	return 0;
}

static int map_one(struct gpu *g, const DeviceMap *m, struct fault *f)
{
	struct place p = { .map = m, .offset = m->offset, .fd = -1 };
	struct gate *gate = gpu_gate(g, m->pid);
	int spare = gpu_spare_fd(g, m->pid), r;
	const int flags = O_CLOEXEC;

	if (!gate)
		return fault(f, -EPROTO, "task %u is not in the tree", m->pid);
	if (drivers_first(g, ask_update, &p, f) == HOOK_FAILED)
		return -1;
	/* Ours stands at the first spare number, its channel at the second. */
	r = p.fd < 0 ? open_there(gate, m, spare, f)
		     : gate_pass_fds(gate, spare + 1, &p.fd, &spare, &flags, 1, f);
	auto_close(&p.fd);
	return r < 0 ? -1 : map_there(gate, &p, spare, f);
}

int on_gpu_map(struct call *c, struct fault *f)
{
	struct gpu *g = gpu_begin(c);
	size_t i;

	for (i = 0; g->prepared && i < g->prepared->n_map; i++)
		if (map_one(g, g->prepared->map[i], f) < 0)
			return fault_prefix(f, "task %u, mapping %llx", g->prepared->map[i]->pid,
					    (unsigned long long)g->prepared->map[i]->start);
	return 0;
}
