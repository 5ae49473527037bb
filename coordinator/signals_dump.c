/* SPDX-License-Identifier: MIT */
/*
 * signals_dump.c - pending signals and signal handlers of frozen tasks.
 *
 * Pending signals are read by ptrace without taking them off the queue. Handlers are known to the
 * task alone: its agent reads all of them in the leader's one batch.
 *
 * Rights:   being the tracer of the threads.
 * Holds:    nothing.
 */
#include "coordinator/signals_dump.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "proto/control/util.h"

#define AT_ONCE 32		/* signals read by one request */

SignalQueueEntry *signals_none(void)
{
	SignalQueueEntry *q = xcalloc(1, sizeof(*q));

	signal_queue_entry__init(q);
	return q;
}

void signals_add(SignalQueueEntry *q, const siginfo_t *si)
{
	SiginfoEntry *e = xcalloc(1, sizeof(*e));

	siginfo_entry__init(e);
	e->siginfo.len = sizeof(*si);
	e->siginfo.data = xcalloc(1, sizeof(*si));
	memcpy(e->siginfo.data, si, sizeof(*si));
	q->signals = xrealloc(q->signals, q->n_signals + 1, sizeof(*q->signals));
	q->signals[q->n_signals++] = e;
}

SignalQueueEntry *signals_pending(pid_t tid, bool group, struct fault *f)
{
	struct __ptrace_peeksiginfo_args args = {
		.flags = group ? PTRACE_PEEKSIGINFO_SHARED : 0,
		.nr = AT_ONCE,
	};
	SignalQueueEntry *q = signals_none();
	siginfo_t si[AT_ONCE];
	long n, i;

	while ((n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, si)) > 0) {
		for (i = 0; i < n; i++)
			signals_add(q, &si[i]);
		args.off += n;
	}
	if (n < 0) {
		fault(f, errno, "read pending signals of thread %d", tid);
		signal_queue_entry__free_unpacked(q, NULL);
		return NULL;
	}
	return q;
}

static bool has_handler(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP;
}

int signals_ask_handlers(struct batch *b, uint64_t off)
{
	int sig;

	for (sig = 1; sig <= SIGNALS; sig++) {
		uint64_t at = off + (sig - 1) * sizeof(struct kernel_sigaction);

		if (has_handler(sig) &&
		    batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_rt_sigaction, 4, gc(sig), gc(0), ga(at),
			     gc(8)) < 0)
			return -1;
	}
	return 0;
}

void signals_put_handlers(TaskCoreEntry *tc, const struct kernel_sigaction *sa)
{
	int sig;

	tc->sigactions = xcalloc(SIGNALS, sizeof(*tc->sigactions));
	for (sig = 1; sig <= SIGNALS; sig++) {
		SaEntry *e;

		if (!has_handler(sig))
			continue;
		e = xcalloc(1, sizeof(*e));
		sa_entry__init(e);
		e->sigaction = sa[sig - 1].handler;
		e->flags = sa[sig - 1].flags;
		e->restorer = sa[sig - 1].restorer;
		e->mask = sa[sig - 1].mask;
		e->has_compat_sigaction = true;
		tc->sigactions[tc->n_sigactions++] = e;
	}
}
