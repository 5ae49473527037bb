/* SPDX-License-Identifier: MIT */
/*
 * seccomp.h - seccomp modes and filters, both directions.
 */
#ifndef STASIS_SECCOMP_H
#define STASIS_SECCOMP_H

#include <stdbool.h>

#include "coordinator/job.h"

struct filters;

/* Can we, as tracer, suspend the filters of a task? Without that it cannot be dumped. */
bool seccomp_can_suspend(void);

struct filters *filters_new(void);
void filters_free(struct filters *s);		/* NULL is fine */

/*
 * Dump, by the tracer: note the filters of a stopped thread of task pid in its record. Most threads
 * have none.
 */
int filters_dump(struct filters *s, pid_t pid, pid_t tid, ThreadCoreEntry *tc, struct fault *f);

/*
 * When all threads of the task have the same filters they are said to share them: the leader's
 * record alone names them, for a restore to spread (SECCOMP_FILTER_FLAG_TSYNC).
 */
void filters_share(struct filters *s, const struct task *t);

/* Write seccomp.img, when there are filters. */
int filters_write(const struct filters *s, int image_dir, struct fault *f);

/* Restore: check what the threads' records and seccomp.img say. */
int seccomp_check(struct job *job, struct fault *f);

/*
 * Install the filters, before credentials are given up. They stay suspended for as long as we
 * trace: the threads concerned are seized here.
 */
int seccomp_restore(struct job *job, struct fault *f);

/* PTRACE_O_SUSPEND_SECCOMP when the thread has a mode, else 0. */
unsigned long seccomp_thread_options(const struct thread *th);

/* PTRACE_O_SUSPEND_SECCOMP when a thread of the task has a mode, else 0. */
unsigned long seccomp_trace_options(const struct task *t);

#endif
