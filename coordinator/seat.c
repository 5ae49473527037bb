/* SPDX-License-Identifier: MIT */
/*
 * seat.c - a thread away from its program's registers, and home.
 *
 * Rights:   being the tracer of the threads.
 * Holds:    nothing.
 */
#include "coordinator/seat.h"

#include <errno.h>

#include "coordinator/stops.h"

uint64_t seat_region_base(const struct seat *s)
{
	return s->region.base;
}

uint64_t seat_region_size(const struct seat *s)
{
	return s->region.size;
}

uint64_t seat_stub_start(const struct seat *s)
{
	return s->room.start;
}

uint64_t seat_stub_end(const struct seat *s)
{
	return s->room.end;
}

int seat_died(struct task *t, pid_t tid, struct fault *f)
{
	return fault(f, -ESRCH, "task %d, thread %d died while its agent was at work", t->pid, tid);
}

int seat_stop(struct task *t, pid_t tid, bool running, struct fault *f)
{
	int status, r;

	ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	if (!running)
		ptrace(PTRACE_CONT, tid, NULL, 0);
	r = stop_wait_event(tid, SEAT_TIMEOUT_MS, &status);
	if (r < 0)
		return seat_died(t, tid, f);
	if (r == 0)
		return fault(f, -ETIMEDOUT, "task %d, thread %d does not stop", t->pid, tid);
	return 0;
}

/* Signals must stay blocked until the registers are the stub's: so the registers come first. */
int seat_away(struct job *job, struct thread *th, const struct user_regs_struct *regs,
	      struct fault *f)
{
	const uint64_t all = ~0ull;

	if (ptrace(PTRACE_SETREGS, th->tid, NULL, regs) < 0)
		return fault(f, errno, "set the registers of thread %d", th->tid);
	thread_frozen(th)->away = true;
	step(job, "registers");
	if (ptrace(PTRACE_SETSIGMASK, th->tid, sizeof(all), &all) < 0)
		return fault(f, errno, "block the signals of thread %d", th->tid);
	step(job, "signals blocked");
	return 0;
}

int seat_home(struct job *job, struct thread *th, struct fault *f)
{
	struct frozen *z = thread_frozen(th);

	if (ptrace(PTRACE_SETSIGMASK, th->tid, sizeof(z->sigmask), &z->sigmask) < 0)
		return fault(f, errno, "set the signal mask of thread %d", th->tid);
	step(job, "mask back");
	if (ptrace(PTRACE_SETREGS, th->tid, NULL, &z->regs) < 0)
		return fault(f, errno, "set the registers of thread %d", th->tid);
	z->away = false;
	step(job, "registers back");
	return 0;
}
