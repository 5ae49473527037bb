/* SPDX-License-Identifier: MIT */
/*
 * thaw.c - let every thread of a frozen tree go again.
 *
 * Dump:     RELEASE: detach, stop or kill; and whenever a dump fails.
 * Rights:   being the tracer of the threads.
 * Holds:    nothing; it ends the ptrace attachments of freeze.c.
 */
#include "coordinator/freeze.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "proto/control/util.h"

#define END_MS 5000		/* for a killed thread to end */

/* A thread that was seized but not collected: what its stop holds must reach it. */
static void detach_uncollected(struct thread *th)
{
	int status, signal = 0;

	if (freeze_wait_stop(th->tid, 50, &status) == 1 && status >> 16 == 0)
		signal = WSTOPSIG(status);
	ptrace(PTRACE_DETACH, th->tid, NULL, signal);
}

static void let_go(struct task *t)
{
	struct thread *th;
	size_t i;

	for (i = 0; i < t->nthreads; i++) {
		th = &t->threads[i];
		if (!th->seized)
			continue;
		if (th->regs)
			ptrace(PTRACE_DETACH, th->tid, NULL, 0);
		else
			detach_uncollected(th);
		th->seized = false;
	}
}

/*
 * Wait for the end of a killed thread. Each end is a SIGCHLD: of many, we sleep meanwhile, for to
 * wake up for each would take the processor from those who are still at it.
 */
static void await_end(pid_t tid, bool many)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	const int64_t end = monotonic_ms() + END_MS;
	int r, status;

	while ((r = freeze_wait_stop(tid, many ? 0 : END_MS, &status)) >= 0 &&
	       monotonic_ms() < end) {
		if (r == 1)
			ptrace(PTRACE_CONT, tid, NULL, 0);
		else
			nanosleep(&nap, NULL);
	}
}

static void bury(struct task *t)
{
	size_t i;

	for (i = t->nthreads; i-- > 0;) {	/* the leader is reported dead after all others */
		if (t->threads[i].seized)
			await_end(t->threads[i].tid, t->nthreads > MANY_THREADS);
		t->threads[i].seized = false;
	}
}

void thaw_tree(struct job *job, enum thaw how)
{
	int signal = how == THAW_KILL ? SIGKILL : how == THAW_STOP ? SIGSTOP : 0;
	struct task *t;
	size_t i;

	freeze_real_time(job, true);
	for (i = 0; signal && i < job->ntasks; i++) {
		t = job->tasks[i];
		if (t->nthreads && t->threads[0].seized &&
		    (signal == SIGKILL || t->state == TASK_RUNNING))
			kill(t->pid, signal);
		step(job, "signal");
	}
	for (i = job->ntasks; how != THAW_KILL && i-- > 0;) {
		let_go(job->tasks[i]);
		step(job, "let go");
	}
}

void freeze_bury(struct job *job)
{
	size_t i;

	for (i = job->ntasks; i-- > 0;) {
		bury(job->tasks[i]);
		step(job, "buried");
	}
}
