/* SPDX-License-Identifier: MIT */
/*
 * kids.h - which tasks share memory, descriptor table, fs and signal handlers.
 */
#ifndef STASIS_KIDS_H
#define STASIS_KIDS_H

#include "coordinator/job.h"

/* The ids of our own namespaces and objects in inventory.img; tasks' ids begin above. */
#define KIDS_OWN 1

/*
 * Give every frozen task its vm_id, files_id, fs_id, sighand_id and the *_shared marks.
 * What cannot be restored (a shared address space, shared handlers) is a fault.
 */
int kids_assign(struct job *job, struct fault *f);

/* Fill an entry with the task's ids and those of our namespaces, which are also its own. */
void kids_entry(const struct task *t, TaskKobjIdsEntry *e);

/* The namespaces of the tasks, which are ours, as seen through one task. */
#define KIDS_NAMESPACES 8
void kids_namespaces(pid_t pid, NsId ns[KIDS_NAMESPACES]);

/* The same for ourselves: root_ids of the inventory. */
void kids_own_entry(TaskKobjIdsEntry *e);

#endif
