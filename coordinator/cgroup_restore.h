/* SPDX-License-Identifier: MIT */
/*
 * cgroup_restore.h - put restored tasks into the cgroups they were in.
 */
#ifndef STASIS_CGROUP_RESTORE_H
#define STASIS_CGROUP_RESTORE_H

#include "coordinator/job.h"

/*
 * Read and check cgroup.img and what the options say of cgroups. Without the image, or with
 * --manage-cgroups=ignore, tasks stay where we are and the others here do nothing.
 */
int cgroups_check(struct job *job, struct fault *f);
void cgroups_free(struct job *job);

/* Make the directories; the undo removes those we made, once the tasks are gone. */
int cgroups_make(struct job *job, struct fault *f);
void cgroups_remove(struct job *job);

/* Move every thread to its cgroups. Threads must exist. */
int cgroups_move(struct job *job, struct fault *f);

/* Write the control files: limits once the tasks are complete, what freezes them when they run. */
int cgroups_write(struct job *job, struct fault *f);
int cgroups_freeze(struct job *job, struct fault *f);

#endif
