/* SPDX-License-Identifier: MIT */
/*
 * threads_restore.h - all threads of all tasks, each in its own agent loop.
 */
#ifndef STASIS_THREADS_RESTORE_H
#define STASIS_THREADS_RESTORE_H

#include "coordinator/job.h"

int threads_make(struct job *job, struct fault *f);

#endif
