/* SPDX-License-Identifier: MIT */
/*
 * signals_restore.c - handlers first (setting one to "ignore" drops pending signals), then queues.
 *
 * A signal with any si_code may be queued only by its receiver: each thread queues its own, the
 * leader those of the task. All are blocked until registers.c loads the masks.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/signals_restore.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "coordinator/task_image.h"

struct kernel_act {
	uint64_t handler, flags, restorer, mask;
};

/* The image leaves out the two that have no handler. */
static int signal_of(size_t index)
{
	int signo = index + 1;

	if (signo >= SIGKILL)
		signo++;
	if (signo >= SIGSTOP)
		signo++;
	return signo;
}

static int add_handlers(const struct inherited *ours, struct ops *o, const TaskCoreEntry *tc,
			struct fault *f)
{
	size_t i;

	for (i = 0; i < tc->n_sigactions; i++) {
		const SaEntry *e = tc->sigactions[i];
		struct kernel_act act = { e->sigaction, e->flags, e->restorer, e->mask };
		int signo = signal_of(i);

		if (!act.handler && !act.flags && !act.restorer && !act.mask &&
		    !(ours->ignored & (1ull << (signo - 1))))
			continue;
		if (ops_reserve(o, 1, sizeof(act) + 16, f) < 0)
			return -1;
		ops_add(o, 0, "set a signal handler", SYS_rt_sigaction, 4, gc(signo),
			ops_put(o, &act, sizeof(act)), gc(0), gc(8));
	}
	return 0;
}

/*
 * A pending SIGSTOP would stop the agent: a task that was to be stopped is, at the very end; one
 * that is stopped already loses nothing, as SIGCONT discards it.
 */
static int add_queue(struct ops *o, struct task *t, pid_t tid, uint32_t thread, bool shared,
		     const SignalQueueEntry *q, struct fault *f)
{
	static const char what[] = "queue a pending signal (limit on pending signals?)";
	struct gate_arg at;
	size_t i;
	int signo;

	for (i = 0; q && i < q->n_signals; i++) {
		if (ops_reserve(o, 1, SIGINFO_SIZE + 16, f) < 0)
			return -1;
		memcpy(&signo, q->signals[i]->siginfo.data, sizeof(signo));
		if (signo == SIGSTOP) {
			t->state = TASK_STOPPED;
			continue;
		}
		at = ops_put(o, q->signals[i]->siginfo.data, SIGINFO_SIZE);
		if (shared)
			ops_add(o, thread, what, SYS_rt_sigqueueinfo, 3, gc(t->pid), gc(signo), at);
		else
			ops_add(o, thread, what, SYS_rt_tgsigqueueinfo, 4, gc(t->pid), gc(tid),
				gc(signo), at);
	}
	return 0;
}

int signals_restore_task(const struct inherited *ours, struct ops *o, struct task *t,
			 struct fault *f)
{
	const TaskCoreEntry *tc = t->threads[0].core->tc;

	if (add_handlers(ours, o, tc, f) < 0)
		return -1;
	return add_queue(o, t, t->pid, 0, true, tc->signals_s, f);
}

int signals_restore_thread(struct ops *o, struct task *t, uint32_t thread, struct fault *f)
{
	const struct thread *th = &t->threads[thread];

	return add_queue(o, t, th->tid, thread, false, th->core->thread_core->signals_p, f);
}
