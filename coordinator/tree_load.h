/* SPDX-License-Identifier: MIT */
/*
 * tree_load.h - the tasks of a dump, read from its images and checked, before any task exists.
 */
#ifndef STASIS_TREE_LOAD_H
#define STASIS_TREE_LOAD_H

#include "coordinator/job.h"

/*
 * Read inventory, pstree, ids-* and the leaders' core-*: fills job->tasks, parents first. Images
 * are not trusted: on return every number used later is in range.
 */
int tree_load(struct job *job, struct fault *f);

/* Read core-* of all other threads. */
int tree_load_threads(struct job *job, struct fault *f);

/* Fault when an id of the tree is a living task's, or its session's or group's, or too high. */
int tree_ids_free(struct job *job, struct fault *f);

/* Is there a task with this id? Also finds threads. */
bool id_in_use(pid_t id);

/* The task with this pid, or NULL. */
struct task *tree_find(const struct job *job, pid_t pid);

#endif
