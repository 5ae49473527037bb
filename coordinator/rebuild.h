/* SPDX-License-Identifier: MIT */
/*
 * rebuild.h - what the coordinator asks of the mem and files workers during a restore.
 */
#ifndef STASIS_REBUILD_H
#define STASIS_REBUILD_H

#include "coordinator/crew.h"
#include "coordinator/job.h"

/*
 * Have them read and check all images. ask returns at once; learn waits and puts the answers
 * into each task's struct birth.
 */
int rebuild_ask(struct job *job, struct fault *f);
int rebuild_learn(struct job *job, struct fault *f);

/* Tell the workers of all agents, without waiting for what they say (rebuild_memory does). */
int rebuild_tell(struct job *job, struct fault *f);

/* Map and fill these tasks' memory (a build_fn); those built already are left alone. */
int rebuild_memory(struct job *job, struct task **tasks, size_t n, struct fault *f);

/* Every descriptor, directory and umask. */
int rebuild_files(struct job *job, struct fault *f);

/* Everything stays: workers drop what only the restore needed. */
int rebuild_finish(struct job *job, struct fault *f);

/*
 * Descriptor numbers in each living task that this worker, net or gpu, may use for a moment
 * (spare.h). For a message; both arrays have room for all tasks. Returns how many.
 */
size_t rebuild_spare_fds(const struct job *job, enum role role, SpareFd *spare, SpareFd **list);
/* The highest number that the restore usually uses in this task. */
uint32_t rebuild_last_fd(const struct task *t);
/* What workers are told of the tasks; both arrays have room for all. */
void rebuild_describe(const struct job *job, RestoreTask *tasks, RestoreTask **list);
/* The tasks run: host objects that were made for them stay. */
void rebuild_keep(struct job *job);

#endif
