/* SPDX-License-Identifier: MIT */
/*
 * timers_restore.c - timers come back with their ids and the time left.
 *
 * Linux 6.15 takes a timer's id from its creator; before, ids count up from 0 in each process, so
 * the missing ones are created and deleted.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/timers_restore.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "proto/control/util.h"

#define RESTORE_IDS 77		/* PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15 */
#define COUNT_MAX 100000u	/* more ids than this are not counted through */

/* As the kernel has it: 64 bytes. */
struct kernel_sigevent {
	uint64_t value;
	int32_t signo;
	int32_t notify;
	int32_t tid;
	int32_t pad[11];
};

static bool can_choose_ids(void)
{
	if (prctl(RESTORE_IDS, 1, 0, 0, 0) < 0)
		return false;
	prctl(RESTORE_IDS, 0, 0, 0, 0);
	return true;
}

static int add_timer(struct ops *o, const PosixTimerEntry *p, uint32_t id, struct fault *f)
{
	struct kernel_sigevent ev = {
		.value = p->sival_ptr,
		.signo = p->si_signo,
		.notify = p->it_sigev_notify,
		.tid = p->has_notify_thread_id ? p->notify_thread_id : 0,
	};
	struct gate_arg event, at;
	uint64_t want = id;

	if (ops_reserve(o, 2, sizeof(ev) + 64, f) < 0)
		return -1;
	event = ops_put(o, &ev, sizeof(ev));
	at = ops_put(o, &want, sizeof(want));
	ops_add(o, 0, "create a POSIX timer", SYS_timer_create, 3, gc(p->clock_id), event, at);
	/*
	 * The id the kernel chose must be the one asked for: timer_getoverrun fails on any other.
	 */
	ops_add(o, 0, "create a POSIX timer with its id", SYS_timer_getoverrun, 1, gc(id));
	return 0;
}

static int count_up(struct ops *o, const PosixTimerEntry *p, uint32_t *next, struct fault *f)
{
	if (p->it_id < *next || p->it_id - *next > COUNT_MAX)
		return fault(f, -ENOTSUP, "a POSIX timer has the id %u; to get there needs Linux "
			     "6.15", p->it_id);
	for (; *next < p->it_id; (*next)++) {
		if (add_timer(o, p, *next, f) < 0 || ops_reserve(o, 1, 0, f) < 0)
			return -1;
		ops_add(o, 0, "delete a timer", SYS_timer_delete, 1, gc(*next));
	}
	(*next)++;
	return 0;
}

static int compare_timers(const void *a, const void *b)
{
	const PosixTimerEntry *x = *(PosixTimerEntry *const *)a, *y = *(PosixTimerEntry *const *)b;

	return x->it_id < y->it_id ? -1 : x->it_id > y->it_id;
}

int timers_create(struct ops *o, struct task *t, struct fault *f)
{
	TaskTimersEntry *timers = t->threads[0].core->tc->timers;
	bool choose = timers->n_posix && can_choose_ids();
	uint32_t next = 0;
	size_t i;

	if (!timers->n_posix)
		return 0;
	qsort(timers->posix, timers->n_posix, sizeof(*timers->posix), compare_timers);
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	if (choose)
		ops_add(o, 0, "choose timer ids", SYS_prctl, 5, gc(RESTORE_IDS), gc(1), gc(0),
			gc(0), gc(0));
	for (i = 0; i < timers->n_posix; i++) {
		if (!choose && count_up(o, timers->posix[i], &next, f) < 0)
			return fault_prefix(f, "task %d", t->pid);
		if (add_timer(o, timers->posix[i], timers->posix[i]->it_id, f) < 0)
			return -1;
	}
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	if (choose)
		ops_add(o, 0, "choose timer ids", SYS_prctl, 5, gc(RESTORE_IDS), gc(0), gc(0),
			gc(0), gc(0));
	return 0;
}

static int start_posix(struct ops *o, const PosixTimerEntry *p, struct fault *f)
{
	struct itimerspec value = {
		.it_interval = { p->isec, p->insec },
		.it_value = { p->vsec, p->vnsec },
	};

	if (!p->vsec && !p->vnsec && !p->isec && !p->insec)
		return 0;
	if (!p->vsec && !p->vnsec)
		value.it_value = value.it_interval;
	if (ops_reserve(o, 1, sizeof(value) + 16, f) < 0)
		return -1;
	ops_add(o, 0, "start a POSIX timer", SYS_timer_settime, 4, gc(p->it_id), gc(0),
		ops_put(o, &value, sizeof(value)), gc(0));
	return 0;
}

static int start_interval(struct ops *o, int which, const ItimerEntry *e, struct fault *f)
{
	struct itimerval value = {
		.it_interval = { e->isec, e->iusec },
		.it_value = { e->vsec, e->vusec },
	};

	if (!e->isec && !e->iusec && !e->vsec && !e->vusec)
		return 0;
	/* It has expired and its signal is pending: the kernel restarts it when that is taken. */
	if (!e->vsec && !e->vusec)
		value.it_value = value.it_interval;
	if (ops_reserve(o, 1, sizeof(value) + 16, f) < 0)
		return -1;
	ops_add(o, 0, "start an interval timer", SYS_setitimer, 3, gc(which),
		ops_put(o, &value, sizeof(value)), gc(0));
	return 0;
}

int timers_start(struct ops *o, struct task *t, struct fault *f)
{
	const TaskTimersEntry *timers = t->threads[0].core->tc->timers;
	size_t i;

	if (start_interval(o, ITIMER_REAL, timers->real, f) < 0 ||
	    start_interval(o, ITIMER_VIRTUAL, timers->virt, f) < 0 ||
	    start_interval(o, ITIMER_PROF, timers->prof, f) < 0)
		return -1;
	for (i = 0; i < timers->n_posix; i++)
		if (start_posix(o, timers->posix[i], f) < 0)
			return -1;
	return 0;
}
