/* SPDX-License-Identifier: MIT */
/*
 * gpu.c - the gpu worker: its handlers, its rights, and the services for drivers.
 *
 *	dump		preflight -> pause -> helpers, checkpoint -> collect -> traced, write ->
 *	late -> end restore		prepare -> gates -> forked -> create (again while RETRY) ->
 *	map -> helpers, resume (or end)
 *
 * Rights:   see gpu_caps; it hosts code of others, which may start programs and trace.
 * Holds:    struct gpu, from the first message to the end.
 */
#include "workers/gpu/gpu.h"

#include "proto/control/util.h"
#include "workers/common/tasks.h"
#include "workers/gpu/botable.h"
#include "workers/gpu/drivers.h"
#include "workers/gpu/dump.h"
#include "workers/gpu/fdstore.h"
#include "workers/gpu/map.h"
#include "workers/gpu/restore.h"

static struct gpu state;

/*
 * To look into tasks of any uid and open map_files; to open devices whoever owns them and to use
 * them as an administrator does (KFD, DRM); to lock memory for copies; what plugins do besides:
 * nodes, owners, limits, priorities.
 */
static const cap_value_t gpu_caps[] = {
	CAP_SYS_PTRACE,
	CAP_CHECKPOINT_RESTORE,
	CAP_SYS_ADMIN,
	CAP_DAC_OVERRIDE,
	CAP_DAC_READ_SEARCH,
	CAP_IPC_LOCK,
	CAP_PERFMON,
	CAP_SYS_RAWIO,
	CAP_MKNOD,
	CAP_CHOWN,
	CAP_FOWNER,
	CAP_FSETID,
	CAP_KILL,
	CAP_SETUID,
	CAP_SETGID,
	CAP_SYS_NICE,
	CAP_SYS_RESOURCE,
	CAP_NET_ADMIN,
};

int gpu_image_dir(const struct gpu *g)
{
	return g->worker->set.image_dir;
}

const Options *gpu_opts(const struct gpu *g)
{
	return g->worker->set.opts;
}

struct gate *gpu_gate(struct gpu *g, pid_t pid)
{
	return tasks_gate(g->tasks, pid);
}

int gpu_spare_fd(struct gpu *g, pid_t pid)
{
	return tasks_spare(g->tasks, pid);
}

bool gpu_memory_built(const struct gpu *g)
{
	return g->memory_built;
}

struct fdstore *gpu_fdstore(struct gpu *g)
{
	if (!g->fdstore)
		g->fdstore = fdstore_new();
	return g->fdstore;
}

struct botable *gpu_botable(struct gpu *g)
{
	struct fault f = { 0 };

	if (!g->botable)
		g->botable = botable_new(&f);
	if (!g->botable)
		die("%s", f.text);
	return g->botable;
}

void gpu_beside(struct gpu *g, const char *what, const struct timespec *begun,
		const struct timespec *done)
{
	const struct timespec *start = &g->worker->set.start;
	uint64_t now = elapsed_ns(start);
	Reply *rep = g->reply;
	Beside *b;

	if (!gpu_opts(g)->trace)
		return;
	b = xcalloc(1, sizeof(*b));
	beside__init(b);
	b->what = xstrdup(what);
	b->begun_ns = now - elapsed_ns(begun);
	b->done_ns = now - elapsed_ns(done);
	rep->beside = xrealloc(rep->beside, rep->n_beside + 1, sizeof(*rep->beside));
	rep->beside[rep->n_beside++] = b;
}

struct gpu *gpu_begin(struct call *c)
{
	struct gpu *g = c->ctx;

	g->worker = c->worker;
	g->reply = c->rep;
	return g;
}

void gpu_end(struct gpu *g, int result)
{
	drivers_end(g, result);
	dump_end(g);
	tasks_free(take_ptr(&g->tasks));
	fdstore_free(take_ptr(&g->fdstore));
	botable_free(take_ptr(&g->botable));
	if (g->prepared)
		gpu_prepare__free_unpacked(take_ptr(&g->prepared), NULL);
	g->memory_built = false;
}

static const struct handler handlers[] = {
	[REQUEST__BODY_GPU_PREFLIGHT] = { STAGE__PREPARE, on_gpu_preflight },
	[REQUEST__BODY_GPU_PAUSE] = { STAGE__PREPARE, on_gpu_pause },
	[REQUEST__BODY_GPU_HELPERS] = { STAGE__FREEZE, on_gpu_helpers },
	[REQUEST__BODY_GPU_CHECKPOINT] = { STAGE__FREEZE, on_gpu_checkpoint },
	[REQUEST__BODY_GPU_COLLECT] = { STAGE__COLLECT, on_gpu_collect },
	[REQUEST__BODY_GPU_UNIX_DUMP] = { STAGE__COLLECT, on_gpu_unix_dump },
	[REQUEST__BODY_GPU_TRACED] = { STAGE__COLLECT, on_gpu_traced },
	[REQUEST__BODY_GPU_WRITE] = { STAGE__WRITE, on_gpu_write },
	[REQUEST__BODY_GPU_LATE] = { STAGE__WRITE, on_gpu_late },
	[REQUEST__BODY_GPU_END] = { STAGE__SEAL, on_gpu_end },
	[REQUEST__BODY_GPU_PREPARE] = { STAGE__PREPARE, on_gpu_prepare },
	[REQUEST__BODY_GATES] = { STAGE__FORKING, on_gpu_gates },
	[REQUEST__BODY_GPU_FORKED] = { STAGE__FORKING, on_gpu_forked },
	[REQUEST__BODY_GPU_CREATE] = { STAGE__RESTORE, on_gpu_create },
	[REQUEST__BODY_GPU_UNIX_RESTORE] = { STAGE__RESTORE, on_gpu_unix_restore },
	[REQUEST__BODY_GPU_MAP] = { STAGE__RESTORE, on_gpu_map },
	[REQUEST__BODY_GPU_RESUME] = { STAGE__RELEASE, on_gpu_resume },
};

struct worker gpu_worker = {
	.name = "gpu",
	.caps = gpu_caps,
	.ncaps = ARRAY_LEN(gpu_caps),
	.hosts = true,
	.handlers = handlers,
	.nhandlers = ARRAY_LEN(handlers),
	.ctx = &state,
};
