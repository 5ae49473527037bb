/* SPDX-License-Identifier: MIT */
/*
 * threads_restore.c - clone the threads of every task with the ids they had.
 *
 * Leaders clone in large batches, all at once. What a thread has from its leader and most
 * threads have in common (name, personality) is set in the leader before.
 *
 * Rights:   CAP_CHECKPOINT_RESTORE in the tasks.
 * Holds:    nothing.
 */
#include "coordinator/threads_restore.h"

#include <errno.h>
#include <linux/sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "coordinator/labels.h"
#include "coordinator/ops.h"
#include "coordinator/switches.h"

#define READY_MS 10000
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
		      CLONE_SYSVSEM)

struct thread_args {
	struct clone_args args;
	int32_t want;
	int32_t pad[3];
};

static int add_thread(struct ops *o, struct task *t, uint32_t k, struct fault *f)
{
	struct thread_args a = { .want = t->threads[k].tid };
	struct gate_arg at, id;

	if (ops_reserve(o, 1, sizeof(a) + 32, f) < 0)
		return -1;
	id = ops_put(o, &a.want, sizeof(a.want));
	a.args.flags = THREAD_FLAGS;
	a.args.set_tid = gate_arena_address(t->gate) + id.value;
	a.args.set_tid_size = 1;
	at = ops_put(o, &a.args, sizeof(a.args));
	ops_add(o, 0, "make a thread (its id may have been taken by another task meanwhile)",
		GATE_OP_CLONE, 4, at, gc(sizeof(a.args)), gc(gate_mailbox_address(t->gate, k)),
		gc(gate_entry(t->gate)));
	ops_expect(o, a.want);
	return 0;
}

static int add_threads(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	const CoreEntry *core = t->threads[0].core;
	const TaskCoreEntry *tc = core->tc;
	const char *comm;
	size_t k;

	(void)job;
	if (t->state == TASK_ZOMBIE)
		return 0;
	comm = core->thread_core->comm;
	if (ops_reserve(o, 2, 64, f) < 0)
		return -1;
	ops_add(o, 0, "set its name", SYS_prctl, 2, gc(PR_SET_NAME),
		ops_put_str(o, comm ? comm : tc->comm));
	if (tc->personality)
		ops_add(o, 0, "set its personality", SYS_personality, 1, gc(tc->personality));
	if (switches_set_early(o, tc, f) < 0 ||
	    labels_restore_process(o, core->thread_core->creds, f) < 0)
		return -1;
	for (k = 1; k < t->nthreads; k++)
		if (add_thread(o, t, k, f) < 0)
			return -1;
	return 0;
}

int threads_make(struct job *job, struct fault *f)
{
	struct task *t;
	size_t i, k;

	if (ops_all(job, job->tasks, job->ntasks, add_threads, f) < 0)
		return -1;
	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		for (k = 1; k < t->nthreads; k++)
			if (gate_wait_ready(t->gate, k, READY_MS, f) < 0)
				return -1;
	}
	return 0;
}
