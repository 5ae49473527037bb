/* SPDX-License-Identifier: MIT */
/*
 * finish.c - the end of a restore: from agents to running programs.
 *
 * Every thread is stopped, each leader unmaps its agent's region, registers and signal masks are
 * loaded, all are let go. Work is started in all tasks before the first is waited for.
 *
 * Rights:   being the tracer of every thread.
 * Holds:    nothing.
 * Relies on all signals being blocked in the tasks until their own masks are loaded, and on
 * PTRACE_O_EXITKILL: if the coordinator dies here, no task is left behind.
 */
#include "coordinator/finish.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/pact.h"
#include "coordinator/registers.h"
#include "coordinator/restart.h"
#include "coordinator/seccomp.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define TRACE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)
#define TIMEOUT_MS 10000
#define SLEEP_TRIES 200
#define RSEQ_CS 8		/* offset in struct rseq of the pointer to the critical section */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define AMX_DATA 18

extern const char stasis_agent_blob[], stasis_agent_blob_end[];

/* The thread that speaks for the task, and with which its living ones begin. */
static size_t first_living(const struct task *t)
{
	return t->leader_dead ? 1 : 0;
}

static struct thread *speaker(const struct task *t)
{
	return &t->threads[first_living(t)];
}

/* Call visit for every living thread of every live task; the first fault ends it. */
static int each_thread(struct job *job,
		       int (*visit)(struct task *t, struct thread *th, struct fault *f),
		       struct fault *f)
{
	struct task *t;
	size_t i, k;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		for (k = first_living(t); t->state != TASK_ZOMBIE && k < t->nthreads; k++)
			if (visit(t, &t->threads[k], f) < 0)
				return -1;
	}
	return 0;
}

/* The same for every live task. */
static int each_task(struct job *job, int (*visit)(struct task *t, struct fault *f),
		     struct fault *f)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE && visit(job->tasks[i], f) < 0)
			return -1;
	return 0;
}

/*
 * AMX: the task needs the permission, and each thread's state must have the room for tiles before
 * PTRACE_SETREGSET takes them. One 64-byte row in tile 0 does.
 */
static int touch_amx(struct task *t, struct fault *f)
{
	static const uint8_t config[64] = { [0] = 1, [16] = 64, [48] = 1 };
	struct batch *open = NULL;
	AUTO_BATCH struct batch *b = NULL;
	uint64_t at = 0;
	size_t k;

	for (k = first_living(t); k < t->nthreads; k++) {
		if (!registers_need_amx(t->threads[k].core->thread_info))
			continue;
		if (!open) {
			open = b = batch_begin(t->gate);
			at = batch_put(b, config, sizeof(config));
			batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_arch_prctl, 2,
				 gc(ARCH_REQ_XCOMP_PERM), gc(AMX_DATA));
			if (batch_run(b, TIMEOUT_MS, f) < 0)
				return -1;
			if (batch_result(b, 0, 0) < 0)
				return fault(f, -batch_result(b, 0, 0),
					     "task %d: ask for the use of AMX tiles", t->pid);
		}
		if (batch_op(b, k, 0, GATE_OP_AMX_TOUCH, 1, ga(at)) < 0)
			return fault(f, -ENOSPC, "task %d: its agent's arena is too small", t->pid);
	}
	return open ? batch_run(b, TIMEOUT_MS, f) : 0;
}

static int wait_stop(pid_t tid, struct fault *f)
{
	int status, r = stop_wait_event(tid, TIMEOUT_MS, &status);

	if (r < 0)
		return fault(f, -ESRCH, "thread %d died before its restore was complete", tid);
	if (!r)
		return fault(f, -ETIMEDOUT, "thread %d does not stop", tid);
	return 0;
}

static int seize(struct task *t, struct thread *th, struct fault *f)
{
	(void)t;
	if (!th->seized && ptrace(PTRACE_SEIZE, th->tid, NULL,
				  TRACE_OPTIONS | seccomp_thread_options(th)) < 0)
		return fault(f, errno, "seize thread %d", th->tid);
	th->seized = true;
	if (ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL) < 0)
		return fault(f, errno, "stop thread %d", th->tid);
	return 0;
}

/* Any syscall instruction of the agent will do: it is not returned to. */
static uint64_t syscall_instruction(const struct gate *g)
{
	size_t size = stasis_agent_blob_end - stasis_agent_blob;
	const char *at = memmem(stasis_agent_blob, size, "\x0f\x05", 2);

	if (!at)
		die("the agent has no syscall instruction");
	return gate_entry(g) + (at - stasis_agent_blob);
}

/* Let a stopped thread's next step be a system call of the agent. */
static int set_call(const struct task *t, pid_t tid, uint64_t nr, uint64_t a, uint64_t b,
		    struct fault *f)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		return fault(f, errno, "read the registers of thread %d", tid);
	regs.orig_rax = -1;
	regs.rip = syscall_instruction(t->gate);
	regs.rax = nr;
	regs.rdi = a;
	regs.rsi = b;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		return fault(f, errno, "write the registers of thread %d", tid);
	return 0;
}

/* ---- dead leaders ---- */

static int await_exit(const struct task *t, struct fault *f)
{
	const struct timespec pause = { 0, 200000 };
	struct fault gone = { 0 };
	struct proc_stat st;
	int i;

	for (i = 0; i < TIMEOUT_MS * 5; i++) {
		if (procfs_stat(t->pid, t->pid, &st, &gone) < 0 || st.state == 'Z')
			return 0;
		nanosleep(&pause, NULL);
	}
	return fault(f, -ETIMEDOUT, "the main thread of task %d does not exit", t->pid);
}

/*
 * The main thread exits as it did before the dump. It must not be traced then: our end would kill
 * its task (EXITKILL) where it can no longer be let go. From here on its other threads keep the
 * promise that nothing survives us.
 */
static int end_leader(struct task *t, struct fault *f)
{
	struct thread *leader = &t->threads[0];
	size_t k;

	if (!t->leader_dead)
		return 0;
	for (k = 1; k < t->nthreads; k++) {
		struct thread *th = &t->threads[k];

		if (!th->seized && ptrace(PTRACE_SEIZE, th->tid, NULL,
					  TRACE_OPTIONS | seccomp_thread_options(th)) < 0)
			return fault(f, errno, "seize thread %d", th->tid);
		th->seized = true;
	}
	if (seize(t, leader, f) < 0 || wait_stop(leader->tid, f) < 0 ||
	    set_call(t, leader->tid, SYS_exit, t->exit_status >> 8 & 0xff, 0, f) < 0)
		return -1;
	if (ptrace(PTRACE_DETACH, leader->tid, NULL, 0) < 0)
		return fault(f, errno, "let the main thread of task %d exit", t->pid);
	leader->seized = false;
	return await_exit(t, f);
}

int finish_prepare(struct job *job, struct fault *f)
{
	stop_prepare();
	if (each_task(job, touch_amx, f) < 0)
		return -1;
	return each_task(job, end_leader, f);
}

/* ---- all stopped ---- */

/* Threads that slept sleep on in their agents (restart.c). Returns the batch, or NULL for none. */
static struct batch *sleep_again(struct task *t)
{
	struct batch *b = NULL;
	ThreadInfoX86 *info;
	size_t k;

	for (k = first_living(t); k < t->nthreads; k++) {
		info = t->threads[k].core->thread_info;
		if (!restart_by_agent(info))
			continue;
		if (!b)
			b = batch_begin(t->gate);
		if (restart_again(b, k, info) < 0)
			restart_give_up(info);
	}
	if (b)
		batch_start(b);
	return b;
}

/* A leader may have been seized before, with other options. */
static int wait_seized(struct task *t, struct thread *th, struct fault *f)
{
	if (wait_stop(th->tid, f) < 0)
		return -1;
	if (th == speaker(t) && ptrace(PTRACE_SETOPTIONS, th->tid, NULL,
				       TRACE_OPTIONS | seccomp_trace_options(t)) < 0)
		return fault(f, errno, "set trace options of thread %d", th->tid);
	return 0;
}

/* The stop may have come before the thread was in its call: then let it run on a little. */
static int settle_sleep(const struct batch *b, uint32_t thread, struct thread *th, struct fault *f)
{
	ThreadInfoX86 *info = th->core->thread_info;
	struct user_regs_struct regs;
	int i;

	for (i = 0; i < SLEEP_TRIES; i++) {
		if (batch_done(b, thread)) {
			restart_ended(info, batch_result(b, thread, 0));
			return 0;
		}
		if (ptrace(PTRACE_GETREGS, th->tid, NULL, &regs) < 0)
			return fault(f, errno, "read the registers of thread %d", th->tid);
		if (restart_under_way(&regs, info))
			return 0;
		if (ptrace(PTRACE_CONT, th->tid, NULL, 0) < 0)
			return fault(f, errno, "resume thread %d", th->tid);
		usleep(20 << (i < 8 ? i : 8));
		if (ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL) < 0)
			return fault(f, errno, "stop thread %d", th->tid);
		if (wait_stop(th->tid, f) < 0)
			return -1;
	}
	restart_give_up(info);
	return 0;
}

static int settle_sleeps(struct task *t, const struct batch *b, struct fault *f)
{
	size_t k;

	for (k = first_living(t); k < t->nthreads; k++)
		if (restart_by_agent(t->threads[k].core->thread_info) &&
		    settle_sleep(b, k, &t->threads[k], f) < 0)
			return -1;
	return 0;
}

int finish_seize(struct job *job, struct fault *f)
{
	AUTO_FREE struct batch **asleep = xcalloc(job->ntasks, sizeof(struct batch *));
	size_t i;
	int r;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE)
			asleep[i] = sleep_again(job->tasks[i]);
	r = each_thread(job, seize, f);
	if (!r)
		r = each_thread(job, wait_seized, f);
	for (i = 0; i < job->ntasks; i++) {
		if (!asleep[i])
			continue;
		if (!r)
			r = settle_sleeps(job->tasks[i], asleep[i], f);
		batch_end(asleep[i]);
	}
	return r;
}

/* Send a thread into munmap of the region; it is to stop at the entry. */
static int begin_unmap(struct task *t, struct fault *f)
{
	const struct gate_place *p = gate_place(t->gate);
	pid_t tid = speaker(t)->tid;

	if (set_call(t, tid, SYS_munmap, p->base, p->size, f) < 0)
		return -1;
	if (ptrace(PTRACE_SYSCALL, tid, NULL, 0) < 0)
		return fault(f, errno, "take the agent out of task %d", t->pid);
	return 0;
}

/*
 * At the entry: ask for the next stop now. It comes on the way out, before any instruction of the
 * region that is gone, and it is one after which the kernel looks at restart codes (a stop at a
 * call's exit is not).
 */
static int do_unmap(struct task *t, struct fault *f)
{
	pid_t tid = speaker(t)->tid;

	if (stop_wait_syscall(tid, TIMEOUT_MS) <= 0)
		return fault(f, -ESRCH, "task %d died or hangs while its agent is taken out",
			     t->pid);
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || ptrace(PTRACE_CONT, tid, NULL, 0) < 0)
		return fault(f, errno, "take the agent out of task %d", t->pid);
	return 0;
}

static int end_unmap(struct task *t, struct fault *f)
{
	pid_t tid = speaker(t)->tid;
	struct user_regs_struct regs;

	if (wait_stop(tid, f) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		return fault(f, errno, "read the registers of thread %d", tid);
	if (regs.rax)
		return fault(f, -(int64_t)regs.rax, "unmap the agent of task %d", t->pid);
	return 0;
}

/*
 * While the agent ran outside the critical section of the image, the kernel may have cleared the
 * program's pointer to it.
 */
static int load_rseq(const struct thread *th, struct fault *f)
{
	const RseqEntry *r = th->core->thread_core->rseq_entry;
	struct iovec from, to;
	uint64_t pointer;

	if (!r || !r->has_rseq_cs_pointer)
		return 0;
	pointer = r->rseq_cs_pointer;
	from = (struct iovec){ &pointer, sizeof(pointer) };
	to = (struct iovec){ (void *)(r->rseq_abi_pointer + RSEQ_CS), sizeof(pointer) };
	if (process_vm_writev(th->tid, &from, 1, &to, 1, 0) != sizeof(pointer))
		return fault(f, errno, "set the rseq critical section of thread %d", th->tid);
	return 0;
}

static int load_thread(struct task *t, struct thread *th, struct fault *f)
{
	const CoreEntry *c = th->core;
	uint64_t mask = th == t->threads && c->tc ? c->tc->blk_sigset : c->thread_core->blk_sigset;

	if (load_rseq(th, f) < 0 || registers_load(th->tid, c->thread_info, f) < 0)
		return -1;
	if (ptrace(PTRACE_SETSIGMASK, th->tid, sizeof(mask), &mask) < 0)
		return fault(f, errno, "set the signal mask of thread %d", th->tid);
	return 0;
}

int finish_registers(struct job *job, struct fault *f)
{
	if (each_task(job, begin_unmap, f) < 0 || each_task(job, do_unmap, f) < 0 ||
	    each_task(job, end_unmap, f) < 0)
		return -1;
	return each_thread(job, load_thread, f);
}

/* A task outlives us when the last of its threads no longer has PTRACE_O_EXITKILL. */
static int clear_exitkill(struct job *job, struct task *t, struct fault *f)
{
	size_t k;

	step(job, "a task is let go");
	for (k = first_living(t); k < t->nthreads; k++)
		if (ptrace(PTRACE_SETOPTIONS, t->threads[k].tid, NULL, 0) < 0)
			return fault(f, errno, "release thread %d", t->threads[k].tid);
	return 0;
}

/* All of them or none: until the last one can be let go, our death is that of the tree. */
static int clear_exitkills(struct job *job, struct fault *f)
{
	struct pact *p;
	size_t i;
	int r = pact_make(job, &p, f);

	pact_bind(p);
	for (i = 0; i < job->ntasks && !r; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE)
			r = clear_exitkill(job, job->tasks[i], f);
	pact_end(p);
	return r;
}

static int detach(struct task *t, struct thread *th, struct fault *f)
{
	(void)t;
	(void)f;
	ptrace(PTRACE_DETACH, th->tid, NULL, 0);	/* killed from outside: no failure now */
	th->seized = false;
	return 0;
}

static bool has_default_action(const struct task *t, int sig)
{
	const CoreEntry *core = t->threads[0].core;
	/* The image leaves these two out. */
	size_t at = sig - 1 - (sig > SIGKILL) - (sig > SIGSTOP);

	return at < core->tc->n_sigactions && core->tc->sigactions[at]->sigaction == 0 &&
	       !(core->tc->blk_sigset & 1ull << (sig - 1));
}

/* The signal that stopped it, for its parent to see; SIGSTOP where that would not stop it again. */
static int stop_signal(const struct task *t)
{
	if (t->state != TASK_STOPPED)
		return SIGSTOP;
	if ((t->stop_signal == SIGTSTP || t->stop_signal == SIGTTIN || t->stop_signal == SIGTTOU) &&
	    has_default_action(t, t->stop_signal))
		return t->stop_signal;
	return SIGSTOP;
}

/*
 * A terminal's stop signal does nothing in an orphaned process group: then it is SIGSTOP after all.
 */
static void ensure_stopped(const struct task *t)
{
	const struct timespec pause = { 0, 200000 };
	struct fault none = { 0 };
	struct proc_stat st;
	int i;

	for (i = 0; i < 50; i++) {
		if (procfs_stat(speaker(t)->tid, 0, &st, &none) < 0 || st.state == 'T')
			return;
		nanosleep(&pause, NULL);
	}
	kill(t->pid, SIGSTOP);
}

/*
 * A stopped task gets its stop signal while traced: the first of its threads let go starts the
 * group stop, and none gets to the program. Our priority is raised meanwhile, because busy threads
 * let go would keep us from the rest.
 */
int finish_release(struct job *job, struct fault *f)
{
	int nice = getpriority(PRIO_PROCESS, 0);
	struct task *t;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		if (t->state == TASK_STOPPED ||
		    (t->state == TASK_RUNNING && job->opts->leave_stopped))
			kill(t->pid, stop_signal(t));
	}
	if (clear_exitkills(job, f) < 0)
		return -1;
	setpriority(PRIO_PROCESS, 0, -20);
	each_thread(job, detach, f);
	setpriority(PRIO_PROCESS, 0, nice);
	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state == TASK_STOPPED && stop_signal(job->tasks[i]) != SIGSTOP)
			ensure_stopped(job->tasks[i]);
	return 0;
}
