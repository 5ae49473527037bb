/* SPDX-License-Identifier: MIT */
/*
 * signals_dump.h - pending signals and signal handlers of frozen tasks.
 */
#ifndef STASIS_SIGNALS_DUMP_H
#define STASIS_SIGNALS_DUMP_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "proto/images/task.pb-c.h"
#include "workers/common/gate_client.h"

/* A handler as the kernel gives it to rt_sigaction(2) on x86-64. */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

#define SIGNALS 64		/* numbered from 1 */

/*
 * The queue of pending signals of a stopped thread, or those for its whole group: a new message,
 * possibly empty. NULL with f set on failure.
 */
SignalQueueEntry *signals_pending(pid_t tid, bool group, struct fault *f);
SignalQueueEntry *signals_none(void);
/* Append a copy. */
void signals_add(SignalQueueEntry *q, const siginfo_t *si);

/* Add operations that read all handlers into the arena: struct kernel_sigaction[SIGNALS] at off. */
int signals_ask_handlers(struct batch *b, uint64_t off);

/* Put what came into the task's record. */
void signals_put_handlers(TaskCoreEntry *tc, const struct kernel_sigaction *sa);

#endif
