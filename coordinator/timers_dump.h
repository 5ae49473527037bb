/* SPDX-License-Identifier: MIT */
/*
 * timers_dump.h - interval timers and POSIX timers of frozen tasks.
 */
#ifndef STASIS_TIMERS_DUMP_H
#define STASIS_TIMERS_DUMP_H

#include <sys/time.h>

#include "coordinator/job.h"

#define ITIMERS 3		/* ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF */

/* Add operations that read the three interval timers into the arena (struct itimerval[ITIMERS]). */
int timers_ask_intervals(struct batch *b, uint64_t off);

/* A new message with what came. */
TaskTimersEntry *timers_entry(const struct itimerval it[ITIMERS]);

/*
 * Add the task's POSIX timers to the message: their list is in /proc, the time left is asked of
 * the agent, but only when there are timers. The gate must be free.
 */
int timers_add_posix(const struct task *t, TaskTimersEntry *e, struct fault *f);

#endif
