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

static void add_signals(SignalQueueEntry *q, size_t *cap, const siginfo_t *si, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		SiginfoEntry *e = xcalloc(1, sizeof(*e)), **slot;

		siginfo_entry__init(e);
		e->siginfo.len = sizeof(si[i]);
		e->siginfo.data = xcalloc(1, sizeof(si[i]));
		memcpy(e->siginfo.data, &si[i], sizeof(si[i]));
		slot = grow(&q->signals, q->n_signals, cap, sizeof(*slot));
		*slot = e;
		q->n_signals++;
	}
}

SignalQueueEntry *signals_pending(pid_t tid, bool group, struct fault *f)
{
	struct __ptrace_peeksiginfo_args args = {
		.flags = group ? PTRACE_PEEKSIGINFO_SHARED : 0,
		.nr = AT_ONCE,
	};
	SignalQueueEntry *q = signals_none();
	siginfo_t si[AT_ONCE];
	size_t cap = 0;
	long n;

	while ((n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, si)) > 0) {
		add_signals(q, &cap, si, n);
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
