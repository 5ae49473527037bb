/* SPDX-License-Identifier: MIT */
/*
 * cgroup_restore.h - put restored tasks into the cgroups they were in.
 */
#ifndef STASIS_CGROUP_RESTORE_H
#define STASIS_CGROUP_RESTORE_H

#include "coordinator/job.h"

/* Check what cgroup.img and the threads' records say. Without the image tasks stay where we are. */
int cgroups_check(struct job *job, struct fault *f);

/*
 * Move every thread to its cgroups; a directory that is missing is made. Nothing is done with
 * --manage-cgroups=ignore. Threads must exist.
 */
int cgroups_restore(struct job *job, struct fault *f);

#endif
