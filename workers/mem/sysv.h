/* SPDX-License-Identifier: MIT */
/*
 * sysv.h - System V shared memory segments that tasks have attached.
 */
#ifndef STASIS_MEM_SYSV_H
#define STASIS_MEM_SYSV_H

#include "proto/control/fault.h"
#include "proto/images/ipc.pb-c.h"
#include "workers/common/keeper.h"
#include "workers/mem/plan.h"
#include "workers/mem/shmem_dump.h"
#include "workers/mem/target.h"

/* Dump: write the image that describes these segments; their contents are shmems_write's. */
int sysv_write(const struct shmems *segments, const struct shmems *others, int image_dir,
	       struct fault *f);

/* Restore: the segments of the image. */
struct segment {
	IpcShmEntry *e;
	struct stored_list stored;
	struct pages_image pages;
	bool needed;			/* a task attaches it */
	bool exists;			/* a host object, not of our making */
};

struct segments {
	struct segment *segment;
	size_t n, cap;
	bool loaded, made;
	pid_t maker;			/* the pid the kernel notes as that of who made a segment */
	struct keeper keeper;		/* removes what was made */
};

/* Check what a target attaches against the image and against the segments that exist now. */
int sysv_need(struct segments *s, const struct target *t, int image_dir, struct fault *f);
/* Once, before any task attaches: make what is missing, fill what nobody uses. */
int sysv_make(struct segments *s, struct fault *f);
/* Plan the attaches of a task; before the other mappings, for they may lie in holes. */
void sysv_plan(struct plan *p, const struct segments *s, const struct target *t);
/* All are attached: remove those again that were removed. */
int sysv_finish(struct segments *s, struct fault *f);
/* The descriptor that decides whether what was made stays; -1: nothing was. */
int sysv_hand_over(struct segments *s);
bool sysv_any_needed(const struct segments *s);
void sysv_free(struct segments *s);

#endif
