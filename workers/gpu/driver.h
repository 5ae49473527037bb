/* SPDX-License-Identifier: MIT */
/*
 * driver.h - a driver is a row of hooks: the 15 hook points of CRIU's plugin ABI (criu-plugin.h of
 * 4.2 and later), for devices that this worker knows itself (amdgpu/, nvidia/) and for plugins of
 * others (host.c) alike.
 *
 * Every hook of a kind is shown to the drivers in order, those of ours first; the first that does
 * not answer HOOK_NOT_MINE has it. A NULL function is HOOK_NOT_MINE.
 */
#ifndef STASIS_GPU_DRIVER_H
#define STASIS_GPU_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

struct gpu;			/* this worker's state: gpu.h */
struct driver;

enum hook_answer {
	HOOK_FAILED = -1,	/* f is set */
	HOOK_DONE = 0,
	HOOK_NOT_MINE = 1,	/* -ENOTSUP of a plugin */
	HOOK_RETRY = 2,		/* something it needs does not exist yet; asked again */
};

enum driver_stage { DRIVER_DUMP = 0, DRIVER_RESTORE = 2 };	/* as CR_PLUGIN_STAGE__* */

struct driver_ops {
	/* Before any hook of the stage; 0, or -1 with f set, which fails the operation. */
	int (*init)(struct driver *d, enum driver_stage stage, struct fault *f);
	/*
	 * After the last hook; result is 0 when the operation was good. Whatever was begun is
	 * undone here.
	 */
	void (*exit)(struct driver *d, enum driver_stage stage, int result);

	/*
	 * ---- dump: tasks run ----
	 * `check PID` shows a file of the tree, before any is judged. fd is the caller's.
	 */
	enum hook_answer (*notice_file)(struct driver *d, int fd, struct fault *f);
	/*
	 * What would become of it: HOOK_DONE with *deed set to a constant sentence, HOOK_FAILED
	 * with the obstacle. fd is a duplicate of the file, the caller's. Changes nothing.
	 */
	enum hook_answer (*judge_file)(struct driver *d, const DeviceFile *file, int fd,
				       const char **deed, struct fault *f);
	enum hook_answer (*judge_map)(struct driver *d, const DeviceMap *map, const char **deed,
				      struct fault *f);
	enum hook_answer (*pause)(struct driver *d, pid_t pid, struct fault *f);	/* 10 */

	/* ---- dump: all tasks are frozen ---- */
	/* The thread that must run during checkpoint (dump) or resume (restore); 0: none. */
	enum hook_answer (*helper)(struct driver *d, pid_t pid, pid_t *tid, struct fault *f);
	enum hook_answer (*checkpoint)(struct driver *d, pid_t pid, struct fault *f);	/* 11 */
	/* fd: the mapped file, as CRIU opens it (O_PATH, or by map_files); st: its status. */
	enum hook_answer (*handle_vma)(struct driver *d, const DeviceMap *map, int fd,
				       const struct stat *st, struct fault *f); /* 7 */
	/* Will the state of this file be told by the tracer (GpuTraced)? HOOK_DONE: yes. */
	enum hook_answer (*wants_trace)(struct driver *d, const DeviceFile *file, int fd,
					struct fault *f);
	/* fds: of its buffers, taken over. */
	enum hook_answer (*traced)(struct driver *d, const GpuTraced *t, int *fds, struct fault *f);
	enum hook_answer (*dump_file)(struct driver *d, const DeviceFile *file, int fd,
				      struct fault *f); /* 2 */
	/* 14; all drivers are asked */
	enum hook_answer (*dump_late)(struct driver *d, pid_t root, struct fault *f);
	enum hook_answer (*dump_unix)(struct driver *d, int fd, uint32_t id,
				      struct fault *f); /* 0 */
	/*
	 * Nothing asks for these and restore_mount yet: they belong to namespaces, which are not
	 * dumped.
	 */
	enum hook_answer (*dump_mount)(struct driver *d, const char *mountpoint, uint32_t id,
				       struct fault *f); /* 4 */
	enum hook_answer (*dump_link)(struct driver *d, int index, int type, const char *kind,
				      struct fault *f); /* 6 */

	/* ---- restore ---- */
	/*
	 * 13, all drivers are asked. Images are read and checked here; what can never be complete
	 * is found here. req stays valid until exit.
	 */
	enum hook_answer (*prepare)(struct driver *d, const GpuPrepare *req, struct fault *f);
	enum hook_answer (*forked)(struct driver *d, struct fault *f);	/* 12; all are asked */
	/*
	 * *fd is the caller's. While gpu_memory_built is false mem is at work in the tasks: what
	 * needs their memory, or their gates for longer than a moment, answers HOOK_RETRY.
	 */
	enum hook_answer (*restore_file)(struct driver *d, uint32_t id, int *fd,
					 struct fault *f); /* 3 */
	/* *fd >= 0: map that file (the caller's), else map->path opened by the task. */
	enum hook_answer (*update_map)(struct driver *d, const DeviceMap *map, uint64_t *offset,
				       int *fd, struct fault *f); /* 8 */
	/* Contents are complete: called once, before the first resume. */
	int (*barrier)(struct driver *d, struct fault *f);
	enum hook_answer (*resume)(struct driver *d, pid_t pid, struct fault *f);	/* 9 */
	enum hook_answer (*restore_unix)(struct driver *d, uint32_t id, int *fd,
					 struct fault *f); /* 1 */
	enum hook_answer (*restore_mount)(struct driver *d, uint32_t id, const char *mountpoint,
					  const char *old_root, bool *is_file,
					  struct fault *f); /* 5 */
};

struct driver {
	const char *name;		/* in inventory.img: "amdgpu_plugin" */
	/*
	 * Stands there too when CRIU's plugin of that name cannot read what was dumped: CRIU
	 * restores nothing while a name of the list is not that of a plugin it has. NULL: never.
	 */
	const char *mark;
	const struct driver_ops *ops;
	struct gpu *gpu;
	bool used;		/* dump: something of it is in the images, the inventory names it */
	bool marked;			/* dump: and the mark */
	void *ctx;			/* the driver's own */
};

/* ---- services for drivers (gpu.c) ---- */

int gpu_image_dir(const struct gpu *g);
const Options *gpu_opts(const struct gpu *g);
/* The gate of a task that is being restored, NULL when it has none. */
struct gate *gpu_gate(struct gpu *g, pid_t pid);
/* From this descriptor number on that task uses none now. -1: not known. */
int gpu_spare_fd(struct gpu *g, pid_t pid);
/* restore: have the tasks the memory that they will have? */
bool gpu_memory_built(const struct gpu *g);
/*
 * For a trace: what threads of a driver did beside requests. Told while a request is served that
 * waited for it.
 */
struct timespec;
void gpu_beside(struct gpu *g, const char *what, const struct timespec *begun,
		const struct timespec *done);
/* The store of descriptors that importers in any process get by number: fdstore.h. */
struct fdstore;
struct fdstore *gpu_fdstore(struct gpu *g);
/* The table of buffer objects, in shared memory: botable.h. */
struct botable;
struct botable *gpu_botable(struct gpu *g);

#endif
