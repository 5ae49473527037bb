/* SPDX-License-Identifier: MIT */
/*
 * thread_dump.h - what is seen of a frozen thread or task from outside.
 */
#ifndef STASIS_THREAD_DUMP_H
#define STASIS_THREAD_DUMP_H

#include "coordinator/cgroup_sets.h"
#include "coordinator/job.h"
#include "coordinator/labels.h"

/* Make th->core, empty. The leader's has a tc. */
void thread_dump_new(struct thread *th, bool leader);

/*
 * Fill in registers, signal mask and pending signals of a thread that is stopped at its own
 * registers. By the tracer.
 */
int thread_dump_stopped(struct thread *th, struct fault *f);

/*
 * Fill in what anybody may see: scheduling, credentials, cgroups. Any thread of ours may call it.
 */
int thread_dump_outside(const struct task *t, struct thread *th, struct cgroup_sets *sets,
			Lsmtype module, struct fault *f);

/* Fill in what the thread was asked itself. */
void thread_dump_facts(struct thread *th);

/* Fill tc of the leader's core with what belongs to the whole task. After all its threads. */
int task_dump(struct task *t, struct fault *f);

/*
 * Make leader_core of a task whose leader is dead: tc moves there from the thread that stands for
 * the task. After task_dump.
 */
int task_dump_dead_leader(struct task *t, struct cgroup_sets *sets, Lsmtype module,
			  struct fault *f);

/* Make the core of a zombie: its name and how it ended. */
int task_dump_zombie(struct task *t, struct fault *f);

#endif
