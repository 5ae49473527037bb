/* SPDX-License-Identifier: MIT */
/*
 * timers_dump.c - interval timers and POSIX timers of frozen tasks.
 *
 * /proc/PID/timers lists POSIX timers with what timer_create was given; the time left and the
 * overrun count are shown to the task alone.
 *
 * Rights:   /proc of the tasks, their gates.
 * Holds:    nothing.
 */
#include "coordinator/timers_dump.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define DEADLINE_MS 10000

int timers_ask_intervals(struct batch *b, uint64_t off)
{
	int which;

	for (which = 0; which < ITIMERS; which++)
		if (batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_getitimer, 2, gc(which),
			     ga(off + which * sizeof(struct itimerval))) < 0)
			return -1;
	return 0;
}

static ItimerEntry *interval(const struct itimerval *it)
{
	ItimerEntry *e = xcalloc(1, sizeof(*e));

	itimer_entry__init(e);
	e->isec = it->it_interval.tv_sec;
	e->iusec = it->it_interval.tv_usec;
	e->vsec = it->it_value.tv_sec;
	e->vusec = it->it_value.tv_usec;
	return e;
}

TaskTimersEntry *timers_entry(const struct itimerval it[ITIMERS])
{
	TaskTimersEntry *e = xcalloc(1, sizeof(*e));

	task_timers_entry__init(e);
	e->real = interval(&it[0]);
	e->virt = interval(&it[1]);
	e->prof = interval(&it[2]);
	return e;
}

static PosixTimerEntry *posix_timer(const struct proc_timer *p, const struct itimerspec *left,
				    uint32_t overrun)
{
	PosixTimerEntry *e = xcalloc(1, sizeof(*e));

	posix_timer_entry__init(e);
	e->it_id = p->id;
	e->clock_id = p->clock;
	e->si_signo = p->signo;
	e->it_sigev_notify = p->notify;
	e->sival_ptr = p->value;
	e->overrun = overrun;
	e->isec = left->it_interval.tv_sec;
	e->insec = left->it_interval.tv_nsec;
	e->vsec = left->it_value.tv_sec;
	e->vnsec = left->it_value.tv_nsec;
	if (p->notify_tid) {
		e->has_notify_thread_id = true;
		e->notify_thread_id = p->notify_tid;
	}
	return e;
}

/* Two operations a timer; as many timers as the arena takes. Returns how many. */
static size_t ask_timers(struct batch *b, const struct proc_timer *p, size_t n, uint64_t *off)
{
	const size_t need = sizeof(struct itimerspec) + 2 * sizeof(struct gate_op) + 64;
	size_t i, fit = batch_room(b) / need;
	void *local;

	if (fit > n)
		fit = n;
	*off = batch_alloc(b, fit * sizeof(struct itimerspec), &local);
	if (!local)
		return 0;
	for (i = 0; i < fit; i++)
		if (batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_timer_gettime, 2, gc(p[i].id),
			     ga(*off + i * sizeof(struct itimerspec))) < 0 ||
		    batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_timer_getoverrun, 1, gc(p[i].id)) < 0)
			break;
	return i;
}

/* Ask for some timers, from p on, and add them to the message. Returns how many, or -1. */
static ssize_t add_some(struct batch *b, const struct task *t, const struct proc_timer *p, size_t n,
			TaskTimersEntry *e, struct fault *f)
{
	const struct itimerspec *left;
	uint64_t off;
	size_t i;

	batch_reset(b);
	n = ask_timers(b, p, n, &off);
	if (!n)
		return fault(f, ENOSPC, "ask for the timers of task %d", t->pid);
	if (batch_run(b, DEADLINE_MS, f) < 0)
		return -1;
	left = batch_local(b, off);
	for (i = 0; i < n; i++) {
		int64_t got = batch_result(b, 0, 2 * i), overrun = batch_result(b, 0, 2 * i + 1);

		if (got < 0 || overrun < 0)
			return fault(f, got < 0 ? -got : -overrun, "read timer %d of task %d",
				     p[i].id, t->pid);
		e->posix[e->n_posix++] = posix_timer(&p[i], &left[i], overrun);
	}
	return n;
}

int timers_add_posix(const struct task *t, TaskTimersEntry *e, struct fault *f)
{
	AUTO_FREE struct proc_timer *list = NULL;
	AUTO_BATCH struct batch *b = NULL;
	size_t n, done;

	if (procfs_timers(t->pid, &list, &n, f) < 0)
		return -1;
	if (!n)
		return 0;
	e->posix = xcalloc(n, sizeof(*e->posix));
	b = batch_begin(t->gate);
	for (done = 0; done < n;) {
		ssize_t r = add_some(b, t, list + done, n - done, e, f);

		if (r < 0)
			return -1;
		done += r;
	}
	return 0;
}
