/* SPDX-License-Identifier: MIT */
/*
 * preflight.h - what can be refused before anything is stopped.
 */
#ifndef STASIS_PREFLIGHT_H
#define STASIS_PREFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "coordinator/labels.h"
#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "workers/common/procfs.h"

/*
 * What the tasks are compared with: ourselves. Only the time namespace may be another one (CRIU
 * restores into a new one each time), but all must be in the root's.
 */
struct preflight {
	uint64_t namespaces[PROC_NAMESPACES];
	Lsmtype module;		/* AppArmor or SELinux, when one is on */
	bool can_suspend;	/* seccomp filters */
};

int preflight_begin(struct preflight *pf, pid_t root, struct fault *f);

/*
 * The pids of a running tree, parents first; the caller frees *pids. Tasks may come and go
 * meanwhile: the list is for refusing early, the freeze makes its own.
 */
int preflight_walk(pid_t root, pid_t **pids, size_t *n, struct fault *f);

/* Can this task be dumped, as far as /proc tells? A task that is gone or dead is no obstacle. */
int preflight_task(const struct preflight *pf, pid_t pid, struct fault *f);

/* The root must lead its session, unless it is a job of a shell. */
int preflight_session(pid_t root, pid_t sid, const Options *opts, struct fault *f);

#endif
