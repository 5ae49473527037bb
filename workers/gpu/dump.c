/* SPDX-License-Identifier: MIT */
/*
 * dump.c - a dump's messages: each shows the objects it names to the drivers.
 *
 * Rights:   ptrace access to the tasks (pidfd_getfd); CAP_CHECKPOINT_RESTORE for map_files.
 * Holds:    from GpuCollect to the end the files of devices, by duplicates of ours.
 */
#include "workers/gpu/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/common/finding.h"
#include "workers/common/procfs.h"
#include "workers/gpu/drivers.h"

#define MAX_BUFFERS (1u << 20)		/* of one traced file: more is nonsense */

struct seen_file {
	DeviceFile *file;
	int fd;
};

struct seen {
	struct seen_file *list;
	size_t n;
	GpuCollect *req;		/* owns what list points to */
};

void dump_end(struct gpu *g)
{
	struct seen *s = take_ptr(&g->seen);
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		auto_close(&s->list[i].fd);
	free(s->list);
	gpu_collect__free_unpacked(s->req, NULL);
	free(s);
}

/* ---- tasks run ---- */

/* One object to be judged. */
struct judgment {
	const DeviceFile *file;
	const DeviceMap *map;
	int fd;
	const char *deed;
};

static enum hook_answer ask_judge_file(struct driver *d, void *arg, struct fault *f)
{
	struct judgment *j = arg;

	return d->ops->judge_file ? d->ops->judge_file(d, j->file, j->fd, &j->deed, f)
				  : HOOK_NOT_MINE;
}

static enum hook_answer ask_judge_map(struct driver *d, void *arg, struct fault *f)
{
	struct judgment *j = arg;

	return d->ops->judge_map ? d->ops->judge_map(d, j->map, &j->deed, f) : HOOK_NOT_MINE;
}

static enum hook_answer ask_notice(struct driver *d, void *arg, struct fault *f)
{
	return d->ops->notice_file ? d->ops->notice_file(d, *(int *)arg, f) : HOOK_NOT_MINE;
}

/*
 * All of the tree, for who judges one by what others have. Not in a dump: what is wrong with all
 * together it sees when they stand, and here buffers may be on their way from one file to another.
 */
static int notice_files(struct gpu *g, const GpuPreflight *req, struct fault *f)
{
	struct fault gone = { 0 };
	size_t i;

	for (i = 0; gpu_opts(g)->mode == MODE__MODE_CHECK && i < req->n_file; i++) {
		AUTO_CLOSE int fd = procfs_fetch(req->file[i]->pid, req->file[i]->fd, &gone);

		if (fd >= 0 && drivers_first(g, ask_notice, &fd, f) == HOOK_FAILED)
			return fault_prefix(f, "%s", req->file[i]->name);
	}
	return 0;
}

/* A file that is closed by now is no obstacle. */
static void judge_file(struct gpu *g, const DeviceFile *file, Surveyed *out)
{
	struct fault gone = { 0 }, why = { 0 };
	AUTO_CLOSE int fd = procfs_fetch(file->pid, file->fd, &gone);
	struct judgment j = { .file = file, .fd = fd, .deed = "not dumped" };
	const char *object = strchr(file->name, ',');

	if (fd < 0)
		return;
	if (drivers_first(g, ask_judge_file, &j, &why) == HOOK_NOT_MINE)
		fault(&why, -ENOTSUP, "%s", file->refusal);
	out->finding[out->n_finding++] = finding_new(file->pid, object ? object + 2 : file->name,
						     j.deed, &why);
}

static void judge_map(struct gpu *g, const DeviceMap *map, Surveyed *out)
{
	struct judgment j = { .map = map, .deed = "not dumped" };
	struct fault why = { 0 };
	char object[200];

	if (drivers_first(g, ask_judge_map, &j, &why) == HOOK_NOT_MINE)
		fault(&why, -ENOTSUP, "%s", map->refusal ? map->refusal : "a mapping of a device");
	snprintf(object, sizeof(object), "mapping %llx-%llx (%.120s)",
		 (unsigned long long)map->start, (unsigned long long)map->end, map->path);
	out->finding[out->n_finding++] = finding_new(map->pid, object, j.deed, &why);
}

int on_gpu_preflight(struct call *c, struct fault *f)
{
	const GpuPreflight *req = c->req->gpu_preflight;
	struct gpu *g = gpu_begin(c);
	Surveyed *out;
	size_t i;

	if (drivers_begin(g, DRIVER_DUMP, f) < 0 || notice_files(g, req, f) < 0)
		return -1;
	out = xcalloc(1, sizeof(*out));
	surveyed__init(out);
	out->finding = xcalloc(req->n_file + req->n_map, sizeof(*out->finding));
	for (i = 0; i < req->n_file; i++)
		judge_file(g, req->file[i], out);
	for (i = 0; i < req->n_map; i++)
		judge_map(g, req->map[i], out);
	c->rep->body_case = REPLY__BODY_SURVEYED;
	c->rep->surveyed = out;
	return 0;
}

static enum hook_answer ask_pause(struct driver *d, void *arg, struct fault *f)
{
	return d->ops->pause ? d->ops->pause(d, *(pid_t *)arg, f) : HOOK_NOT_MINE;
}

static enum hook_answer ask_checkpoint(struct driver *d, void *arg, struct fault *f)
{
	return d->ops->checkpoint ? d->ops->checkpoint(d, *(pid_t *)arg, f) : HOOK_NOT_MINE;
}

int on_gpu_pause(struct call *c, struct fault *f)
{
	const GpuPause *req = c->req->gpu_pause;
	struct gpu *g = gpu_begin(c);

	if (drivers_begin(g, DRIVER_DUMP, f) < 0)
		return -1;
	return drivers_for_tasks(g, req->pid, req->n_pid, ask_pause, f);
}

/* ---- tasks stand ---- */

struct helper {
	pid_t pid, tid;
};

static enum hook_answer ask_helper(struct driver *d, void *arg, struct fault *f)
{
	struct helper *h = arg;

	return d->ops->helper ? d->ops->helper(d, h->pid, &h->tid, f) : HOOK_NOT_MINE;
}

int on_gpu_helpers(struct call *c, struct fault *f)
{
	const GpuHelpers *req = c->req->gpu_helpers;
	struct gpu *g = gpu_begin(c);
	GpuHelpersFound *out = xcalloc(1, sizeof(*out));
	size_t i;

	gpu_helpers_found__init(out);
	out->thread = xcalloc(req->n_pid, sizeof(*out->thread));
	c->rep->body_case = REPLY__BODY_GPU_HELPERS_FOUND;
	c->rep->gpu_helpers_found = out;
	for (i = 0; i < req->n_pid; i++) {
		struct helper h = { .pid = req->pid[i] };
		HelperThread *t;

		if (drivers_first(g, ask_helper, &h, f) == HOOK_FAILED)
			return fault_prefix(f, "task %d", h.pid);
		if (!h.tid)
			continue;
		t = out->thread[out->n_thread++] = xcalloc(1, sizeof(*t));
		helper_thread__init(t);
		t->pid = h.pid;
		t->tid = h.tid;
	}
	return 0;
}

int on_gpu_checkpoint(struct call *c, struct fault *f)
{
	const GpuCheckpoint *req = c->req->gpu_checkpoint;

	return drivers_for_tasks(gpu_begin(c), req->pid, req->n_pid, ask_checkpoint, f);
}

struct vma_question {
	const DeviceMap *map;
	int fd;
	struct stat st;
};

static enum hook_answer ask_vma(struct driver *d, void *arg, struct fault *f)
{
	struct vma_question *q = arg;

	return d->ops->handle_vma ? d->ops->handle_vma(d, q->map, q->fd, &q->st, f) : HOOK_NOT_MINE;
}

static int collect_map(struct gpu *g, const DeviceMap *map, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct vma_question q = { .map = map };
	enum hook_answer a;
	char path[80];

	snprintf(path, sizeof(path), "/proc/%u/map_files/%llx-%llx", map->pid,
		 (unsigned long long)map->start, (unsigned long long)map->end);
	q.fd = fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &q.st) < 0)
		return fault(f, errno, "task %u: look at %s", map->pid, path);
	a = drivers_first(g, ask_vma, &q, f);
	if (a == HOOK_NOT_MINE)
		return fault(f, -ENOTSUP, "%s",
			     map->refusal ? map->refusal : "a mapping of a device");
	return a == HOOK_FAILED ? fault_prefix(f, "task %u, mapping %llx", map->pid,
					       (unsigned long long)map->start) : 0;
}

static enum hook_answer ask_trace(struct driver *d, void *arg, struct fault *f)
{
	struct seen_file *s = arg;

	return d->ops->wants_trace ? d->ops->wants_trace(d, s->file, s->fd, f) : HOOK_NOT_MINE;
}

static int collect_file(struct gpu *g, DeviceFile *file, GpuCollected *out, struct fault *f)
{
	struct seen_file *s = &g->seen->list[g->seen->n];
	enum hook_answer a;

	s->file = file;
	s->fd = procfs_fetch(file->pid, file->fd, f);
	if (s->fd < 0)
		return fault_prefix(f, "%s", file->name);
	g->seen->n++;
	a = drivers_first(g, ask_trace, s, f);
	if (a == HOOK_FAILED)
		return fault_prefix(f, "%s", file->name);
	if (a == HOOK_DONE)
		out->traced[out->n_traced++] = file->id;
	return 0;
}

int on_gpu_collect(struct call *c, struct fault *f)
{
	struct gpu *g = gpu_begin(c);
	const GpuCollect *req;
	GpuCollected *out;
	size_t i;

	if (g->seen)
		return fault(f, -EPROTO, "devices are collected already");
	g->seen = xcalloc(1, sizeof(*g->seen));
	req = g->seen->req = message_copy(&c->req->gpu_collect->base);
	g->seen->list = xcalloc(req->n_file, sizeof(*g->seen->list));
	out = xcalloc(1, sizeof(*out));
	gpu_collected__init(out);
	out->traced = xcalloc(req->n_file, sizeof(*out->traced));
	c->rep->body_case = REPLY__BODY_GPU_COLLECTED;
	c->rep->gpu_collected = out;
	for (i = 0; i < req->n_map; i++)
		if (collect_map(g, req->map[i], f) < 0)
			return -1;
	for (i = 0; i < req->n_file; i++)
		if (collect_file(g, req->file[i], out, f) < 0)
			return -1;
	return 0;
}

struct trace {
	const GpuTraced *told;
	int *fds;
};

static enum hook_answer ask_traced(struct driver *d, void *arg, struct fault *f)
{
	struct trace *t = arg;

	return d->ops->traced ? d->ops->traced(d, t->told, t->fds, f) : HOOK_NOT_MINE;
}

int on_gpu_traced(struct call *c, struct fault *f)
{
	const GpuTraced *told = c->req->gpu_traced;
	AUTO_FREE int *fds = NULL;
	struct trace t = { told, NULL };
	enum hook_answer a;

	if (told->nfds > MAX_BUFFERS)
		return fault(f, -EPROTO, "%u buffers in one file", told->nfds);
	t.fds = fds = xcalloc(told->nfds, sizeof(*fds));
	if (told->nfds && worker_recv_fds(c->worker, fds, told->nfds, f) < 0)
		return -1;
	a = drivers_first(gpu_begin(c), ask_traced, &t, f);
	return a == HOOK_NOT_MINE
		       ? fault(f, -EPROTO, "no driver asked for the trace of file %u", told->id)
	       : a == HOOK_FAILED ? -1
				  : 0;
}

/* ---- write ---- */

static enum hook_answer ask_dump_file(struct driver *d, void *arg, struct fault *f)
{
	struct seen_file *s = arg;

	return d->ops->dump_file ? d->ops->dump_file(d, s->file, s->fd, f) : HOOK_NOT_MINE;
}

int on_gpu_write(struct call *c, struct fault *f)
{
	struct gpu *g = gpu_begin(c);
	size_t i;

	for (i = 0; g->seen && i < g->seen->n; i++) {
		struct seen_file *s = &g->seen->list[i];
		enum hook_answer a = drivers_first(g, ask_dump_file, s, f);

		if (a == HOOK_NOT_MINE)
			return fault(f, -ENOTSUP, "%s", s->file->refusal);
		if (a == HOOK_FAILED)
			return fault_prefix(f, "%s", s->file->name);
	}
	return 0;
}

struct unix_question {
	uint32_t id;
	int fd;
};

static enum hook_answer ask_dump_unix(struct driver *d, void *arg, struct fault *f)
{
	struct unix_question *q = arg;

	return d->ops->dump_unix ? d->ops->dump_unix(d, q->fd, q->id, f) : HOOK_NOT_MINE;
}

/* Answers RETRY when no driver knows its peer. */
int on_gpu_unix_dump(struct call *c, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	struct unix_question q = { .id = c->req->gpu_unix_dump->id };
	enum hook_answer a;

	if (worker_recv_fds(c->worker, &fd, 1, f) < 0)
		return -1;
	q.fd = fd;
	a = drivers_first(gpu_begin(c), ask_dump_unix, &q, f);
	if (a == HOOK_NOT_MINE)
		c->rep->status = STATUS__RETRY;
	return a == HOOK_FAILED ? fault_prefix(f, "unix socket %u", q.id) : 0;
}

static enum hook_answer ask_late(struct driver *d, void *arg, struct fault *f)
{
	return d->ops->dump_late ? d->ops->dump_late(d, *(pid_t *)arg, f) : HOOK_NOT_MINE;
}

int on_gpu_late(struct call *c, struct fault *f)
{
	struct gpu *g = gpu_begin(c);
	pid_t root = c->req->gpu_late->root_pid;
	GpuWritten *out;

	if (drivers_each(g, ask_late, &root, f) < 0)
		return -1;
	out = xcalloc(1, sizeof(*out));
	gpu_written__init(out);
	out->n_plugin = drivers_needed(g, &out->plugin);
	c->rep->body_case = REPLY__BODY_GPU_WRITTEN;
	c->rep->gpu_written = out;
	return 0;
}

int on_gpu_end(struct call *c, struct fault *f)
{
	(void)f;
	gpu_end(gpu_begin(c), c->req->gpu_end->result);
	return 0;
}
