/* SPDX-License-Identifier: MIT */
/*
 * sched.h - how a thread is scheduled: policy, priorities, processors, timer slack.
 */
#ifndef STASIS_SCHED_H
#define STASIS_SCHED_H

#include "coordinator/inherited.h"
#include "coordinator/job.h"
#include "coordinator/ops.h"

/* Fill tc from what the kernel tells anybody of the thread, but for its timer slack. */
int sched_dump(pid_t tid, ThreadCoreEntry *tc, struct fault *f);
/* That, for it costs a look at /proc: when the thread itself told that it is not the usual. */
void sched_dump_slack(pid_t tid, ThreadCoreEntry *tc);

/* NULL, or what is wrong with it. */
const char *sched_check(const ThreadCoreEntry *tc);

/* What is set from outside: first, for it takes our rights. */
int sched_restore_outside(const struct thread *th, struct fault *f);

/* What thread k sets itself. */
int sched_restore(const struct inherited *ours, struct ops *o, const ThreadCoreEntry *tc,
		  uint32_t k, struct fault *f);

#endif
