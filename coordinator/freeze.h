/* SPDX-License-Identifier: MIT */
/*
 * freeze.h - stop every thread of a process tree under ptrace, and let it go again.
 *
 * Between freeze_tree and thaw_tree the calling thread is the tracer: only it may use ptrace
 * on the tree. No PTRACE_O_EXITKILL: when the tracer dies the kernel lets every thread run on.
 */
#ifndef STASIS_FREEZE_H
#define STASIS_FREEZE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "coordinator/job.h"

/* What only the thread itself can tell (inject_thread_facts in inject.h). */
struct thread_facts {
	uint64_t clear_tid_addr;
	uint64_t sas_sp, sas_size;
	uint32_t sas_flags;
	uint32_t pdeath_sig;
	uint32_t securebits;
	bool slack_unusual;		/* timer slack: not TIMER_SLACK_USUAL */
};

/*
 * A stopped thread; thread->regs points to it. regs are as the kernel shows them at the stop (a
 * system call waiting to be restarted has orig_rax >= 0 and rax = -512..-516), with rip moved
 * to the abort handler when the thread stood inside an rseq critical section.
 */
struct frozen {
	struct user_regs_struct regs;
	uint64_t sigmask;
	struct thread_facts facts;
	struct __ptrace_rseq_configuration rseq;	/* zero when none is registered */
	uint64_t sleep_left_ns;	/* rest of an interrupted sleep, 0: not known (sleepers.c) */
	bool away;		/* not at its own registers now: agent or stub (inject.c) */
};

static inline struct frozen *thread_frozen(const struct thread *t)
{
	return t->regs;
}

#define MANY_THREADS 16	/* of a task: from here on it costs to do what each asks for twice */

/*
 * Seize and stop the tree below opts->pid. Fills job->tasks (parents before children), their
 * threads, zombies, stopped tasks. After a fault everything seized has been let go.
 */
int freeze_tree(struct job *job, struct fault *f);

enum thaw {
	THAW_RUN,		/* go on as before; stopped tasks stay stopped */
	THAW_STOP,		/* leave everything stopped by SIGSTOP */
	THAW_KILL,		/* SIGKILL the tree; its end is waited for by freeze_bury */
};

/*
 * Let every seized thread go. Agents must be out (eject_all), but for THAW_KILL. Does nothing
 * for threads that are not seized, so it may be called at any half-done point and twice.
 */
void thaw_tree(struct job *job, enum thaw how);

/* Real time for us, if our priority was raised at all: freeze_tree and thaw_tree. */
void freeze_real_time(const struct job *job, bool on);

/* After THAW_KILL: wait until every thread is dead. */
void freeze_bury(struct job *job);

/*
 * A seized thread has stopped with this wait status: note its registers in th->regs (allocated
 * when NULL). For threads that were let run for a moment; freeze_tree has done it for all.
 */
int freeze_take(struct task *t, struct thread *th, int status, struct fault *f);

/*
 * Wait until a seized thread reports a stop, for at most timeout_ms; *status as from waitpid.
 * 1: stopped, 0: deadline, -1: the thread is gone.
 */
int freeze_wait_stop(pid_t tid, int timeout_ms, int *status);

/*
 * While agents run, a SIGSTOP for the target stops its leader although it is traced: these let
 * the agent run on (the stop takes effect at the thaw). freeze_watch installs a SIGCHLD handler
 * that does it for the leaders named; system calls of the coordinator may return EINTR.
 */
void freeze_watch(const pid_t *leaders, size_t n);
void freeze_unwatch(void);

#endif
