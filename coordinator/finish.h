/* SPDX-License-Identifier: MIT */
/*
 * finish.h - the end of a restore: every task stands in its agent; make it run as the image says.
 *
 * Order: finish_prepare, finish_seize, finish_registers, (devices' late resume), finish_release. On
 * a fault the caller kills the tasks; they are all traced with PTRACE_O_EXITKILL until
 * finish_release.
 */
#ifndef STASIS_FINISH_H
#define STASIS_FINISH_H

#include "coordinator/job.h"

/* While agents still work: room for AMX state; main threads that were dead exit again. */
int finish_prepare(struct job *job, struct fault *f);

/*
 * Stop every thread of every task that is alive (not TASK_ZOMBIE): seize those that are not
 * seized yet, interrupt all, wait for all. Sets thread.seized.
 */
int finish_seize(struct job *job, struct fault *f);

/*
 * Take the agent's region out of each task and load every thread's registers, extended state
 * and signal mask from thread.core. The threads stay stopped. A gate can no longer be
 * used afterwards (gate_close is fine).
 */
int finish_registers(struct job *job, struct fault *f);

/*
 * Let all threads go. Tasks that were stopped when dumped (TASK_STOPPED) stay stopped; with
 * options' leave_stopped every task does.
 */
int finish_release(struct job *job, struct fault *f);

#endif
