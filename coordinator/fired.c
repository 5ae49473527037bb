/* SPDX-License-Identifier: MIT */
/*
 * fired.c - signals of timers that went off while a dump read them.
 *
 * Pending signals are read while a thread is stopped, and only then its agent reads the timers. One
 * that goes off in between is off when it is read, and its signal is not among those that were: the
 * program would wait for it forever. So where timers are off the queues are looked at again. What
 * timers have sent that run still is left out: it went off after it was read, and will again.
 *
 * Rights:   being the tracer of the threads.
 * Holds:    nothing.
 */
#include "coordinator/fired.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>

#include "coordinator/seat.h"
#include "coordinator/signals_dump.h"
#include "proto/control/util.h"

static bool is_off(const ItimerEntry *e)
{
	return !e->vsec && !e->vusec;
}

static bool is_posix_off(const PosixTimerEntry *e)
{
	return !e->vsec && !e->vnsec && e->it_sigev_notify != SIGEV_NONE;
}

static const ItimerEntry *interval_of(const TaskTimersEntry *e, int signo)
{
	return signo == SIGALRM ? e->real : signo == SIGVTALRM ? e->virt :
	       signo == SIGPROF ? e->prof : NULL;
}

static bool sent_by_off(const TaskTimersEntry *e, const siginfo_t *si)
{
	const ItimerEntry *it = interval_of(e, si->si_signo);
	size_t i;

	if (si->si_code == SI_KERNEL)
		return it && is_off(it);
	for (i = 0; si->si_code == SI_TIMER && i < e->n_posix; i++)
		if (e->posix[i]->it_id == (uint32_t)si->si_timerid)
			return is_posix_off(e->posix[i]);
	return false;
}

static const siginfo_t *info_at(const SignalQueueEntry *q, size_t i)
{
	return (const siginfo_t *)q->signals[i]->siginfo.data;
}

/* Is that timer's signal there already? One of an interval timer waits once, whoever sent it. */
static bool waits(const SignalQueueEntry *q, const siginfo_t *si)
{
	size_t i;

	for (i = 0; i < q->n_signals; i++) {
		const siginfo_t *old = info_at(q, i);

		if (old->si_signo != si->si_signo)
			continue;
		if (si->si_code != SI_TIMER ||
		    (old->si_code == SI_TIMER && old->si_timerid == si->si_timerid))
			return true;
	}
	return false;
}

/* Look at a queue of a stopped thread again. */
static int look(const TaskTimersEntry *e, pid_t tid, bool group, SignalQueueEntry *q,
		struct fault *f)
{
	SignalQueueEntry *now = signals_pending(tid, group, f);
	size_t i;

	if (!now)
		return -1;
	for (i = 0; i < now->n_signals; i++)
		if (sent_by_off(e, info_at(now, i)) && !waits(q, info_at(now, i)))
			signals_add(q, info_at(now, i));
	signal_queue_entry__free_unpacked(now, NULL);
	return 0;
}

/* The leader runs the agent, and is stopped for it. */
static int look_at_leader(struct job *job, struct task *t, struct fault *f)
{
	CoreEntry *c = t->threads[0].core;
	int r;

	freeze_unwatch();
	r = seat_stop(t, t->pid, true, f);
	inject_watch(job);
	if (r < 0)
		return -1;
	r = look(c->tc->timers, t->pid, true, c->tc->signals_s, f);
	if (r == 0)
		r = look(c->tc->timers, t->pid, false, c->thread_core->signals_p, f);
	ptrace(PTRACE_CONT, t->pid, NULL, 0);
	return r;
}

/* Threads whose signals are not read yet have nothing to add. */
static int look_at_thread(struct task *t, pid_t tid, struct fault *f)
{
	size_t i;

	for (i = 1; i < t->nthreads; i++) {
		ThreadCoreEntry *c = t->threads[i].core->thread_core;

		if (t->threads[i].tid == tid && c->signals_p)
			return look(t->threads[0].core->tc->timers, tid, false, c->signals_p, f);
	}
	return 0;
}

int fired_collect(struct job *job, struct task *t, uint64_t pending, struct fault *f)
{
	static const int signals[] = { SIGALRM, SIGVTALRM, SIGPROF };
	const TaskCoreEntry *tc = t->threads[0].core->tc;
	bool leader = false;
	size_t i;

	for (i = 0; i < ARRAY_LEN(signals); i++) {
		const siginfo_t si = { .si_signo = signals[i], .si_code = SI_KERNEL };

		if (pending & 1ull << (signals[i] - 1) && sent_by_off(tc->timers, &si) &&
		    !waits(tc->signals_s, &si))
			leader = true;
	}
	for (i = 0; i < tc->timers->n_posix; i++) {
		const PosixTimerEntry *e = tc->timers->posix[i];

		if (!is_posix_off(e))
			continue;
		if (!e->has_notify_thread_id || e->notify_thread_id == t->pid)
			leader = true;
		else if (look_at_thread(t, e->notify_thread_id, f) < 0)
			return -1;
	}
	return leader ? look_at_leader(job, t, f) : 0;
}
