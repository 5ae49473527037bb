/* SPDX-License-Identifier: MIT */
/*
 * restore.c - a restore's messages, but for GpuMap (map.c).
 *
 * Rights:   the image directory; those of the drivers.
 * Holds:    the request of GpuPrepare and the tasks' gates, to the end; files that are made, until
 *           the worker ends: the files worker takes duplicates.
 */
#include "workers/gpu/restore.h"

#include <errno.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/image.h"
#include "workers/common/log.h"
#include "workers/common/tasks.h"
#include "workers/gpu/drivers.h"
#include "workers/gpu/gpu.h"

/* ---- GpuPrepare ---- */

/* The paths of what is mapped: regular file entries of files.img. */
static void name_maps(GpuPrepare *req, const FileEntry *e)
{
	size_t i;

	for (i = 0; i < req->n_map && e->reg; i++)
		if (req->map[i]->file == e->id) {
			free(req->map[i]->path);
			req->map[i]->path = xstrdup(e->reg->name);
		}
}

static int read_paths(struct gpu *g, GpuPrepare *req, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(gpu_image_dir(g), IMG_FILES, 0, f);
	ProtobufCMessage *msg;
	size_t i;
	int n;

	if (!img)
		return -1;
	while ((n = image_read(img, &msg, f)) > 0) {
		name_maps(req, (FileEntry *)msg);
		protobuf_c_message_free_unpacked(msg, NULL);
	}
	for (i = 0; n == 0 && i < req->n_map; i++)
		if (req->map[i]->path[0] != '/')
			return fault(
				f, -EBADMSG,
				"mm-%u.img: the mapping %llx is of file %u, which is no path of "
				"files.img",
				req->map[i]->pid, (unsigned long long)req->map[i]->start,
				req->map[i]->file);
	return n;
}

static enum hook_answer ask_prepare(struct driver *d, void *arg, struct fault *f)
{
	return d->ops->prepare ? d->ops->prepare(d, arg, f) : HOOK_NOT_MINE;
}

static int check_required(struct gpu *g, struct fault *f)
{
	const char *name = drivers_missing(g);

	if (!name)
		return 0;
	return fault(f, -ENOENT, "inventory.img: the dump needs the plugin %.100s for its restore, "
		     "and no plugin here answers to that name: give its folder with --libdir",
		     name);
}

int on_gpu_prepare(struct call *c, struct fault *f)
{
	struct gpu *g = gpu_begin(c);

	if (g->prepared)
		return fault(f, -EPROTO, "a restore is prepared already");
	g->prepared = message_copy(&c->req->gpu_prepare->base);
	g->tasks = tasks_new(g->prepared->task, g->prepared->n_task);
	if (g->prepared->n_map && read_paths(g, g->prepared, f) < 0)
		return -1;
	if (drivers_begin(g, DRIVER_RESTORE, f) < 0 || check_required(g, f) < 0)
		return -1;
	return drivers_each(g, ask_prepare, g->prepared, f);
}

/* ---- tasks exist ---- */

int on_gpu_gates(struct call *c, struct fault *f)
{
	const Gates *req = c->req->gates;
	int fd = -1;

	if (req->has_fd && worker_recv_fds(c->worker, &fd, 1, f) < 0)
		return -1;
	return tasks_gates(gpu_begin(c)->tasks, req, fd, f);
}

static enum hook_answer ask_forked(struct driver *d, void *arg, struct fault *f)
{
	(void)arg;
	return d->ops->forked ? d->ops->forked(d, f) : HOOK_NOT_MINE;
}

int on_gpu_forked(struct call *c, struct fault *f)
{
	return drivers_each(gpu_begin(c), ask_forked, NULL, f);
}

/* What becomes of id: its file. */
struct question {
	uint32_t id;
	int fd;
};

static enum hook_answer ask_restore_file(struct driver *d, void *arg, struct fault *f)
{
	struct question *q = arg;

	return d->ops->restore_file ? d->ops->restore_file(d, q->id, &q->fd, f) : HOOK_NOT_MINE;
}

static int create(struct gpu *g, uint32_t id, MadeFiles *made, Reply *rep, struct fault *f)
{
	struct question q = { .id = id, .fd = -1 };

	switch (drivers_first(g, ask_restore_file, &q, f)) {
	case HOOK_DONE:
		made->id[made->n_id++] = id;
		made->fd[made->n_fd++] = q.fd;
		return 0;
	case HOOK_RETRY:
		rep->status = STATUS__RETRY;
		rep->waits_for[rep->n_waits_for++] = id;
		return 0;
	case HOOK_NOT_MINE:
		return fault(f, -ENOTSUP, "files.img: file %u is one of a device, and no driver or "
			     "plugin here makes it: give the folder of its plugin with --libdir",
			     id);
	case HOOK_FAILED:
		break;
	}
	return fault_prefix(f, "make file %u", id);
}

int on_gpu_create(struct call *c, struct fault *f)
{
	const GpuCreate *req = c->req->gpu_create;
	struct gpu *g = gpu_begin(c);
	MadeFiles *made = xcalloc(1, sizeof(*made));
	size_t i;

	made_files__init(made);
	made->pid = getpid();
	made->id = xcalloc(req->n_id, sizeof(*made->id));
	made->fd = xcalloc(req->n_id, sizeof(*made->fd));
	c->rep->body_case = REPLY__BODY_GPU_CREATED;
	c->rep->gpu_created = made;
	c->rep->waits_for = xcalloc(req->n_id, sizeof(*c->rep->waits_for));
	if (tasks_set_spare(g->tasks, req->spare, req->n_spare, f) < 0)
		return -1;
	g->memory_built = req->memory_built;
	for (i = 0; i < req->n_id; i++)
		if (create(g, req->id[i], made, c->rep, f) < 0)
			return -1;
	return 0;
}

static enum hook_answer ask_restore_unix(struct driver *d, void *arg, struct fault *f)
{
	struct question *q = arg;

	return d->ops->restore_unix ? d->ops->restore_unix(d, q->id, &q->fd, f) : HOOK_NOT_MINE;
}

int on_gpu_unix_restore(struct call *c, struct fault *f)
{
	struct question q = { .id = c->req->gpu_unix_restore->id, .fd = -1 };
	enum hook_answer a = drivers_first(gpu_begin(c), ask_restore_unix, &q, f);
	int r;

	if (a == HOOK_NOT_MINE)
		return fault(f, -ENOTSUP, "files.img: unix socket %u is one of a plugin, and no "
			     "plugin here makes it: give its folder with --libdir", q.id);
	if (a == HOOK_FAILED)
		return fault_prefix(f, "unix socket %u", q.id);
	r = worker_send_fds(c->worker, &q.fd, 1, f);
	auto_close(&q.fd);
	return r;
}

/* ---- the end ---- */

static enum hook_answer ask_barrier(struct driver *d, void *arg, struct fault *f)
{
	(void)arg;
	return d->ops->barrier && d->ops->barrier(d, f) < 0 ? HOOK_FAILED : HOOK_DONE;
}

static enum hook_answer ask_resume(struct driver *d, void *arg, struct fault *f)
{
	return d->ops->resume ? d->ops->resume(d, *(pid_t *)arg, f) : HOOK_NOT_MINE;
}

/* A device that does not go on is a task that does not: CRIU only logs it. */
int on_gpu_resume(struct call *c, struct fault *f)
{
	const GpuResume *req = c->req->gpu_resume;
	struct gpu *g = gpu_begin(c);

	if (drivers_each(g, ask_barrier, NULL, f) < 0 ||
	    drivers_for_tasks(g, req->pid, req->n_pid, ask_resume, f) < 0)
		return -1;
	gpu_end(g, 0);
	return 0;
}
