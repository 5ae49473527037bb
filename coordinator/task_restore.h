/* SPDX-License-Identifier: MIT */
/*
 * task_restore.h - the state of tasks and threads that is neither memory nor files nor registers.
 */
#ifndef STASIS_TASK_RESTORE_H
#define STASIS_TASK_RESTORE_H

#include "coordinator/job.h"

/*
 * All tasks at once: what a process has, then what each thread has, credentials, timers.
 * Memory must be filled, zombies dead, threads made.
 */
int task_restore(struct job *job, struct fault *f);

/* Parent-death signals that the exit of a main thread (finish_prepare) would have sent. */
int task_restore_late(struct job *job, struct fault *f);

#endif
