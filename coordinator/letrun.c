/* SPDX-License-Identifier: MIT */
/*
 * letrun.c - one thread of a stopped tree runs for a while.
 *
 * Rights:   being the tracer of the thread.
 * Holds:    nothing.
 */
#include "coordinator/letrun.h"

#include <errno.h>
#include <sys/ptrace.h>

#include "coordinator/freeze.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"

#define TIMEOUT_MS 10000

static struct thread *find(struct job *job, const HelperThread *who, struct task **task)
{
	size_t i, k;

	for (i = 0; i < job->ntasks; i++) {
		*task = job->tasks[i];
		for (k = 0; (*task)->pid == (pid_t)who->pid && k < (*task)->nthreads; k++)
			if ((*task)->threads[k].tid == (pid_t)who->tid)
				return &(*task)->threads[k];
	}
	return NULL;
}

int letrun_begin(struct job *job, const HelperThread *who, struct letrun *r, struct fault *f)
{
	const uint64_t all = UINT64_MAX;

	*r = (struct letrun){ .task = NULL };
	r->thread = find(job, who, &r->task);
	if (!r->thread || !r->thread->seized)
		return fault(f, -ESRCH, "thread %u, which a device needs, is none of task %u",
			     who->tid, who->pid);
	if (ptrace(PTRACE_GETSIGMASK, who->tid, sizeof(r->mask), &r->mask) < 0 ||
	    ptrace(PTRACE_SETSIGMASK, who->tid, sizeof(all), &all) < 0)
		return fault(f, errno, "block the signals of thread %u", who->tid);
	if (ptrace(PTRACE_CONT, who->tid, NULL, 0) < 0)
		return fault(f, errno, "let thread %u run", who->tid);
	r->running = true;
	return 0;
}

int letrun_end(struct letrun *r, struct fault *f)
{
	pid_t tid = r->running ? r->thread->tid : 0;
	int status;

	if (!r->running)
		return 0;
	r->running = false;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 ||
	    stop_wait_event(tid, TIMEOUT_MS, &status) <= 0)
		return fault(f, -ESRCH, "thread %d, which ran for a device, does not stop again",
			     tid);
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(r->mask), &r->mask) < 0)
		return fault(f, errno, "set the signal mask of thread %d", tid);
	/* Where a dump noted its registers they are others now. */
	return r->thread->regs ? freeze_take(r->task, r->thread, status, f) : 0;
}
