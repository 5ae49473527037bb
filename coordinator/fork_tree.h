/* SPDX-License-Identifier: MIT */
/*
 * fork_tree.h - make the processes: every task alive under its pid, in its session and group,
 * running nothing but its agent.
 */
#ifndef STASIS_FORK_TREE_H
#define STASIS_FORK_TREE_H

#include "coordinator/job.h"

/*
 * Find room for the agents in every address space and make the memory they share with us. The
 * births must be planned and the workers' needs be known.
 */
int fork_prepare(struct job *job, struct fault *f);

/* The root task alone, seized. */
int fork_root(struct job *job, struct fault *f);

/* Fill the memory of some tasks. */
typedef int build_fn(struct job *job, struct task **tasks, size_t n, struct fault *f);

/* All others, level by level; build is asked for those whose children must find it filled. */
int fork_rest(struct job *job, build_fn *build, struct fault *f);

/* Process groups; then helpers end and orphans come to their parents. */
int fork_groups(struct job *job, struct fault *f);

/* Is every orphan the child of its parent again? After fork_groups and the end of the zombies. */
int fork_check_orphans(struct job *job, struct fault *f);

/* Kill whatever exists, and reap what is ours to reap. Safe at any time. */
void fork_undo(struct job *job);

/* Let go of the gates and the memory; the tasks' side must be gone already. */
void fork_release(struct job *job);

#endif
