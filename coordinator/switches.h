/* SPDX-License-Identifier: MIT */
/*
 * switches.h - what a process has switched on or off by prctl(2) and in /proc.
 */
#ifndef STASIS_SWITCHES_H
#define STASIS_SWITCHES_H

#include "coordinator/inherited.h"
#include "coordinator/job.h"
#include "coordinator/ops.h"

/* Operation numbers of the calls whose results or answers tell. */
struct switches_asked {
	int mce_kill, io_flusher, no_tsc, no_cpuid;
	uint64_t tsc;			/* offset of PR_GET_TSC's answer in the arena */
};

/* Dump: add the questions to a leader's batch (-1: it is full), then put the answers into tc. */
int switches_ask(struct batch *b, struct switches_asked *asked);
void switches_take(struct batch *b, const struct switches_asked *asked, TaskCoreEntry *tc);

/*
 * Dump: what /proc shows of a process; whether it leads a session. Any thread of ours may call it.
 */
int switches_look(pid_t pid, bool leads_session, TaskCoreEntry *tc, struct fault *f);

const char *switches_check(const TaskCoreEntry *tc);

/* Restore: from outside; what threads have from their leader, before they are made. */
int switches_set_outside(const struct inherited *ours, const struct task *t, struct fault *f);
int switches_set_early(struct ops *o, const TaskCoreEntry *tc, struct fault *f);

#endif
