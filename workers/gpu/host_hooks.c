/* SPDX-License-Identifier: MIT */
/*
 * host_hooks.c - a plugin as a driver: our hooks become calls of its functions.
 *
 * A function answers -ENOTSUP for "not mine". Of hooks that ask nobody in particular
 * (PAUSE_DEVICES, RESTORE_INIT, ...) that is no failure either. Facts: criu-plugin.h and the
 * callers of run_plugins in CRIU (2cf8f13ca).
 *
 * Rights:   whatever plugins do.
 * Holds:    nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/gpu/gpu.h"
#include "workers/gpu/host.h"

enum hook {
	DUMP_UNIX_SK,
	RESTORE_UNIX_SK,
	DUMP_EXT_FILE,
	RESTORE_EXT_FILE,
	DUMP_EXT_MOUNT,
	RESTORE_EXT_MOUNT,
	DUMP_EXT_LINK,
	HANDLE_DEVICE_VMA,
	UPDATE_VMA_MAP,
	RESUME_DEVICES_LATE,
	PAUSE_DEVICES,
	CHECKPOINT_DEVICES,
	POST_FORKING,
	RESTORE_INIT,
	DUMP_DEVICES_LATE,
};

static const char *const hook_names[PLUGIN_HOOKS] = {
	"DUMP_UNIX_SK",	  "RESTORE_UNIX_SK",	 "DUMP_EXT_FILE",     "RESTORE_EXT_FILE",
	"DUMP_EXT_MOUNT", "RESTORE_EXT_MOUNT",	 "DUMP_EXT_LINK",     "HANDLE_DEVICE_VMA",
	"UPDATE_VMA_MAP", "RESUME_DEVICES_LATE", "PAUSE_DEVICES",     "CHECKPOINT_DEVICES",
	"POST_FORKING",	  "RESTORE_INIT",	 "DUMP_DEVICES_LATE",
};

/*
 * Every signature of the table. One that takes fewer arguments (CRIU 4.2's RESTORE_EXT_FILE) finds
 * its own.
 */
union hook_call {
	void *symbol;
	int (*nothing)(void);
	int (*number)(int);
	int (*two)(int, int);
	int (*restore_file)(int, bool *);
	int (*dump_mount)(char *, int);
	int (*restore_mount)(int, char *, char *, int *);
	int (*dump_link)(int, int, char *);
	int (*vma)(int, const struct stat *);
	int (*update)(const char *, uint64_t, uint64_t, uint64_t *, int *);
};

static const struct plugin *plugin_of(const struct driver *d)
{
	return d->ctx;
}

/* The plugin's function for a hook; what lies behind max_hooks is not ours to read. */
static bool find(const struct driver *d, enum hook hook, union hook_call *call)
{
	const struct plugin_desc *desc = plugin_of(d)->desc;

	call->symbol = (unsigned)hook < desc->max_hooks ? desc->hooks[hook] : NULL;
	if (call->symbol)
		log_debug("plugin %s: %s", desc->name, hook_names[hook]);
	return call->symbol;
}

static enum hook_answer answer(enum hook hook, int r, struct fault *f)
{
	if (r == -ENOTSUP)
		return HOOK_NOT_MINE;
	if (r >= 0)
		return HOOK_DONE;
	/* Many plugins answer a bare -1. */
	fault(f, r == -1 ? -EIO : r, "%s answers %d; the log may tell more", hook_names[hook], r);
	return HOOK_FAILED;
}

/* ---- begin and end ---- */

/* A check of a running tree calls nothing that could change something. */
static bool is_check(const struct driver *d)
{
	return gpu_opts(d->gpu)->mode == MODE__MODE_CHECK;
}

static int plugin_init(struct driver *d, enum driver_stage stage, struct fault *f)
{
	const struct plugin_desc *desc = plugin_of(d)->desc;
	int r = desc->init && !is_check(d) ? desc->init(stage) : 0;

	return r ? fault(f, -EIO, "the plugin's init answers %d; the log may tell more", r) : 0;
}

static void plugin_exit(struct driver *d, enum driver_stage stage, int result)
{
	const struct plugin_desc *desc = plugin_of(d)->desc;

	if (desc->exit && !is_check(d))
		desc->exit(stage, result);
}

/* ---- dump ---- */

/* Only when it is asked in earnest will a plugin say whether it takes a file. */
static enum hook_answer judge_file(struct driver *d, const DeviceFile *file, int fd,
				   const char **deed, struct fault *f)
{
	union hook_call call;

	(void)file;
	(void)fd;
	(void)f;
	*deed = "shown to the plugins";
	return find(d, DUMP_EXT_FILE, &call) ? HOOK_DONE : HOOK_NOT_MINE;
}

static enum hook_answer judge_map(struct driver *d, const DeviceMap *map, const char **deed,
				  struct fault *f)
{
	union hook_call call;

	(void)map;
	(void)f;
	*deed = "shown to the plugins";
	return find(d, HANDLE_DEVICE_VMA, &call) ? HOOK_DONE : HOOK_NOT_MINE;
}

static enum hook_answer call_number(struct driver *d, enum hook hook, int number, struct fault *f)
{
	union hook_call call;

	return find(d, hook, &call) ? answer(hook, call.number(number), f) : HOOK_NOT_MINE;
}

static enum hook_answer call_nothing(struct driver *d, enum hook hook, struct fault *f)
{
	union hook_call call;

	return find(d, hook, &call) ? answer(hook, call.nothing(), f) : HOOK_NOT_MINE;
}

static enum hook_answer plugin_pause(struct driver *d, pid_t pid, struct fault *f)
{
	return call_number(d, PAUSE_DEVICES, pid, f);
}

static enum hook_answer checkpoint(struct driver *d, pid_t pid, struct fault *f)
{
	return call_number(d, CHECKPOINT_DEVICES, pid, f);
}

/*
 * CRIU opens the device anew when its node lies in a file system without a disk; some may use that.
 */
static enum hook_answer ask_vma(union hook_call call, int fd, const struct stat *st,
				struct fault *f)
{
	AUTO_CLOSE int own = -1;
	char path[40];

	if (major(st->st_dev) == 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	return answer(HANDLE_DEVICE_VMA, call.vma(own >= 0 ? own : fd, st), f);
}

/* Mappings of one file that follow each other are one question, as in CRIU. */
static enum hook_answer handle_vma(struct driver *d, const DeviceMap *map, int fd,
				   const struct stat *st, struct fault *f)
{
	struct plugin *p = d->ctx;
	union hook_call call;

	if (p->vma.valid && p->vma.pid == map->pid && p->vma.dev == map->dev &&
	    p->vma.ino == map->ino)
		return p->vma.answer;
	if (!find(d, HANDLE_DEVICE_VMA, &call))
		return HOOK_NOT_MINE;
	p->vma.answer = ask_vma(call, fd, st, f);
	p->vma.valid = p->vma.answer != HOOK_FAILED;
	p->vma.pid = map->pid;
	p->vma.dev = map->dev;
	p->vma.ino = map->ino;
	return p->vma.answer;
}

static enum hook_answer dump_file(struct driver *d, const DeviceFile *file, int fd, struct fault *f)
{
	union hook_call call;

	return find(d, DUMP_EXT_FILE, &call) ? answer(DUMP_EXT_FILE, call.two(fd, file->id), f)
					     : HOOK_NOT_MINE;
}

static enum hook_answer dump_late(struct driver *d, pid_t root, struct fault *f)
{
	return call_number(d, DUMP_DEVICES_LATE, root, f);
}

static enum hook_answer dump_unix(struct driver *d, int fd, uint32_t id, struct fault *f)
{
	union hook_call call;

	return find(d, DUMP_UNIX_SK, &call) ? answer(DUMP_UNIX_SK, call.two(fd, id), f)
					    : HOOK_NOT_MINE;
}

static enum hook_answer dump_mount(struct driver *d, const char *mountpoint, uint32_t id,
				   struct fault *f)
{
	AUTO_FREE char *copy = xstrdup(mountpoint);
	union hook_call call;

	return find(d, DUMP_EXT_MOUNT, &call) ? answer(DUMP_EXT_MOUNT, call.dump_mount(copy, id), f)
					      : HOOK_NOT_MINE;
}

static enum hook_answer dump_link(struct driver *d, int index, int type, const char *kind,
				  struct fault *f)
{
	AUTO_FREE char *copy = xstrdup(kind);
	union hook_call call;

	return find(d, DUMP_EXT_LINK, &call)
		       ? answer(DUMP_EXT_LINK, call.dump_link(index, type, copy), f)
		       : HOOK_NOT_MINE;
}

/* ---- restore ---- */

static enum hook_answer prepare(struct driver *d, const GpuPrepare *req, struct fault *f)
{
	(void)req;
	return call_nothing(d, RESTORE_INIT, f);
}

static enum hook_answer forked(struct driver *d, struct fault *f)
{
	return call_nothing(d, POST_FORKING, f);
}

/* Plugins of CRIU up to 4.2 know of no retry: the flag must have a value before. */
static enum hook_answer restore_file(struct driver *d, uint32_t id, int *fd, struct fault *f)
{
	union hook_call call;
	bool retry = false;
	int r;

	if (!find(d, RESTORE_EXT_FILE, &call))
		return HOOK_NOT_MINE;
	r = call.restore_file(id, &retry);
	if (r < 0 || retry)
		return r < 0 ? answer(RESTORE_EXT_FILE, r, f) : HOOK_RETRY;
	*fd = r;
	return HOOK_DONE;
}

/* 1: mapped at another offset, or from the plugin's file. 0: there is nothing to change. */
static enum hook_answer update_map(struct driver *d, const DeviceMap *map, uint64_t *offset,
				   int *fd, struct fault *f)
{
	union hook_call call;
	uint64_t new = map->offset;
	int own = -1, r;

	if (!find(d, UPDATE_VMA_MAP, &call))
		return HOOK_NOT_MINE;
	r = call.update(map->path, map->start, map->offset, &new, &own);
	if (r == 1) {
		*offset = new;
		*fd = own;
	}
	return r == 0 ? HOOK_NOT_MINE : answer(UPDATE_VMA_MAP, r, f);
}

static enum hook_answer resume(struct driver *d, pid_t pid, struct fault *f)
{
	return call_number(d, RESUME_DEVICES_LATE, pid, f);
}

static enum hook_answer restore_unix(struct driver *d, uint32_t id, int *fd, struct fault *f)
{
	union hook_call call;
	int r;

	if (!find(d, RESTORE_UNIX_SK, &call))
		return HOOK_NOT_MINE;
	r = call.number(id);
	if (r >= 0)
		*fd = r;
	return answer(RESTORE_UNIX_SK, r, f);
}

static enum hook_answer restore_mount(struct driver *d, uint32_t id, const char *mountpoint,
				      const char *old_root, bool *is_file, struct fault *f)
{
	AUTO_FREE char *to = xstrdup(mountpoint), *from = xstrdup(old_root);
	union hook_call call;
	int file = 0, r;

	if (!find(d, RESTORE_EXT_MOUNT, &call))
		return HOOK_NOT_MINE;
	r = call.restore_mount(id, to, from, &file);
	*is_file = file;
	return answer(RESTORE_EXT_MOUNT, r, f);
}

const struct driver_ops plugin_ops = {
	.init = plugin_init,
	.exit = plugin_exit,
	.judge_file = judge_file,
	.judge_map = judge_map,
	.pause = plugin_pause,
	.checkpoint = checkpoint,
	.handle_vma = handle_vma,
	.dump_file = dump_file,
	.dump_late = dump_late,
	.dump_unix = dump_unix,
	.dump_mount = dump_mount,
	.dump_link = dump_link,
	.prepare = prepare,
	.forked = forked,
	.restore_file = restore_file,
	.update_map = update_map,
	.resume = resume,
	.restore_unix = restore_unix,
	.restore_mount = restore_mount,
};
