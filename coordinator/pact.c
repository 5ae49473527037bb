/* SPDX-License-Identifier: MIT */
/*
 * pact.c - a process that kills the tree when we die.
 *
 * It shares our memory and descriptors, so to make it costs no copy of either, and only makes
 * system calls: the C library's state is ours. It sleeps on a herald, is woken before the tracees
 * of a dead thread run, and kills them by number: nobody can have these yet, for traced tasks are
 * not reaped before their tracer is gone. pact_end kills it, which is one moment for all.
 *
 * Rights:   to signal the tasks.
 * Holds:    the process, in a session of its own: a signal to our group is not for it.
 */
#include "coordinator/pact.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "coordinator/raw.h"
#include "proto/control/util.h"

#define STACK 16384

struct pact {
	struct gate_herald herald;
	uint32_t *pids;
	size_t n;
	pid_t keeper;
	bool binds;
	uint8_t stack[STACK] __attribute__((aligned(16)));
};

/* In the keeper. A sanitizer would look for its state where ours is. */
__attribute__((no_sanitize("address", "undefined")))
static int keep(void *arg)
{
	struct pact *p = arg;
	uint32_t word;
	size_t i;

	raw(SYS_setsid, 0, 0, 0, 0, 0, 0);
	while (!((word = __atomic_load_n(&p->herald.death, __ATOMIC_ACQUIRE)) & GATE_DEATH_BIT))
		raw(SYS_futex, (long)&p->herald.death, FUTEX_WAIT, word, 0, 0, 0);
	for (i = 0; p->binds && i < p->n; i++)
		raw(SYS_kill, p->pids[i], SIGKILL, 0, 0, 0, 0);
	return 0;
}

static void forget(struct pact *p)
{
	gate_herald_end(&p->herald);
	free(p->pids);
	free(p);
}

int pact_make(const struct job *job, struct pact **pact, struct fault *f)
{
	struct pact *p = xcalloc(1, sizeof(*p));
	sigset_t all, old;
	int err;

	*pact = NULL;
	p->pids = job_living(job, &p->n);
	if (p->n < 2) {
		free(p->pids);
		free(p);
		return 0;
	}
	gate_herald(&p->herald, true);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	p->keeper = clone(keep, p->stack + STACK, CLONE_VM | CLONE_FS | CLONE_FILES, p);
	err = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (p->keeper < 0) {
		forget(p);
		return fault(f, err, "tree of task %d: start the process that ends all of it "
			     "if we are killed; raise the limit on processes (ulimit -u, "
			     "pids.max, threads-max)", job->tasks[0]->pid);
	}
	*pact = p;
	return 0;
}

void pact_bind(struct pact *p)
{
	if (p)
		__atomic_store_n(&p->binds, true, __ATOMIC_RELEASE);
}

void pact_end(struct pact *p)
{
	if (!p)
		return;
	kill(p->keeper, SIGKILL);
	while (waitpid(p->keeper, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	forget(p);
}
