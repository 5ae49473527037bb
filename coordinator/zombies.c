/* SPDX-License-Identifier: MIT */
/*
 * zombies.c - the SIGCHLD stage: bring zombies into their state.
 *
 * Rights:   none; a zombie ends itself, its parent looks.
 * Holds:    nothing.
 */
#include "coordinator/zombies.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "coordinator/ops.h"
#include "coordinator/births.h"
#include "coordinator/task_image.h"
#include "coordinator/windows.h"
#include "proto/control/util.h"

/* Die by the signal: no core file, default action, not blocked. */
static void add_death(struct batch *b, pid_t pid, int signo)
{
	const struct rlimit64 none = { 0, 0 };
	const uint64_t act[4] = { 0 };
	uint64_t mask = 1ull << (signo - 1);

	batch_op(b, 0, 0, SYS_prlimit64, 4, gc(0), gc(RLIMIT_CORE),
		 ga(batch_put(b, &none, sizeof(none))), gc(0));
	batch_op(b, 0, 0, SYS_rt_sigaction, 4, gc(signo), ga(batch_put(b, act, sizeof(act))), gc(0),
		 gc(8));
	batch_op(b, 0, 0, SYS_kill, 2, gc(pid), gc(signo));
	batch_op(b, 0, 0, SYS_rt_sigprocmask, 4, gc(SIG_UNBLOCK),
		 ga(batch_put(b, &mask, sizeof(mask))), gc(0), gc(8));
}

/* Its agent never answers: nobody waits for this batch. */
static void end_zombie(struct task *t)
{
	AUTO_BATCH struct batch *b = batch_begin(t->gate);
	int signo = t->exit_status & 0x7f;

	batch_op(b, 0, 0, SYS_prctl, 2, gc(PR_SET_NAME),
		 ga(batch_put_str(b, t->threads[0].core->tc->comm)));
	if (signo && signo <= SIGNALS)
		add_death(b, t->pid, signo);
	batch_op(b, 0, 0, SYS_exit_group, 1, gc((t->exit_status >> 8) & 0xff));
	batch_start(b);
}

static bool lost_children(const struct task *t)
{
	const struct birth *b = birth_of(t);
	size_t i;

	for (i = 0; i < t->nchildren; i++)
		if (t->children[i]->state == TASK_ZOMBIE)
			return true;
	return b->reaped;
}

static int add_look(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	const struct timespec now = { 0 };
	const uint64_t mask = 1ull << (SIGCHLD - 1);
	size_t i;

	(void)job;
	if (t->state == TASK_ZOMBIE || !lost_children(t))
		return 0;
	for (i = 0; i < t->nchildren; i++) {
		if (t->children[i]->state != TASK_ZOMBIE)
			continue;
		if (ops_reserve(o, 1, 0, f) < 0)
			return -1;
		ops_add(o, 0, "find its dead child", SYS_waitid, 5, gc(P_PID),
			gc(t->children[i]->pid), gc(0), gc(WEXITED | WNOWAIT), gc(0));
	}
	if (ops_reserve(o, 1, 64, f) < 0)
		return -1;
	ops_try(o, 0, SYS_rt_sigtimedwait, 4, ops_put(o, &mask, sizeof(mask)), gc(0),
		ops_put(o, &now, sizeof(now)), gc(sizeof(mask)));
	return 0;
}

int zombies_end(struct job *job, struct fault *f)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state == TASK_ZOMBIE)
			end_zombie(job->tasks[i]);
	if (ops_all(job, job->tasks, job->ntasks, add_look, f) < 0)
		return -1;
	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state == TASK_ZOMBIE)
			window_close(job->tasks[i]);
	return 0;
}
