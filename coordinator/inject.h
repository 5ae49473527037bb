/* SPDX-License-Identifier: MIT */
/*
 * inject.h - put the agent into frozen tasks and take it out again.
 */
#ifndef STASIS_INJECT_H
#define STASIS_INJECT_H

#include <stdint.h>

#include "coordinator/freeze.h"
#include "coordinator/job.h"

/* Where the agent sits in a task: task->seat, NULL when it has none. */
struct seat;
uint64_t seat_region_base(const struct seat *s);
uint64_t seat_region_size(const struct seat *s);
/* The task's memory the stub was written to: zeros. */
uint64_t seat_stub_start(const struct seat *s);
uint64_t seat_stub_end(const struct seat *s);

/*
 * Put the agent on the leader of every live task with a memory of its own (task->vm_shared unset);
 * task->gate is then usable. All tasks are worked in parallel. After a fault no agent is left.
 */
int inject_all(struct job *job, struct fault *f);

/* What to do with a thread that has told its facts: 0, or -1 with f set. */
typedef int told_thread(void *ctx, struct task *t, struct thread *th, struct fault *f);
/*
 * Ask every thread what only it knows: thread_frozen(thread)->facts. Agents must be in. Of threads
 * but the leaders told (NULL: nothing) is called as each has come back, while others are away.
 */
int inject_thread_facts(struct job *job, told_thread *told, void *ctx, struct fault *f);

/*
 * Agents out: registers and signal masks as they were, region unmapped, stub zeroed. The tasks
 * stay stopped under ptrace. Idempotent.
 */
void eject_all(struct job *job);

#endif
