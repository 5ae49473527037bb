/* SPDX-License-Identifier: MIT */
/*
 * stops.c - wait for ptrace stops, note what a stopped thread is like; keep agents going when a
 * SIGSTOP comes.
 *
 * Rights:   being the tracer.
 * Holds:    the list of watched leaders, for the signal handler.
 */
#include "coordinator/stops.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "coordinator/freeze.h"
#include "coordinator/restart.h"
#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define GET_SYSCALL_USER_DISPATCH 0x4211	/* Linux 6.4 */
#define USER_CS 0x33		/* 64-bit code; 32-bit code has 0x23 */
#define SLICE_MS 20		/* should a SIGCHLD go to another thread of ours */

/* Mutable file scope, for a signal handler has no argument. Changed with SIGCHLD blocked. */
static pid_t *watched;
static size_t nwatched;

static void sigchld(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(how, &set, NULL);
}

/* An inherited SIG_IGN would keep the kernel from sending SIGCHLD at all. */
void stop_prepare(void)
{
	sigchld(SIG_BLOCK);
	signal(SIGCHLD, SIG_DFL);
}

/* A main thread that is dead is not reported before its other threads have been waited for. */
static bool is_dead(pid_t tid)
{
	struct fault ignored = { 0 };
	struct proc_stat st;

	return procfs_stat(tid, 0, &st, &ignored) < 0 || st.state == 'Z' || st.state == 'X';
}

int freeze_wait_stop(pid_t tid, int timeout_ms, int *status)
{
	int64_t end = monotonic_ms() + timeout_ms, left;
	struct timespec slice = { 0 };
	sigset_t set;
	pid_t r;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (;;) {
		r = waitpid(tid, status, __WALL | WNOHANG);
		if (r == tid)
			return WIFSTOPPED(*status) ? 1 : -1;
		if (r < 0 && errno != EINTR)
			return -1;
		left = end - monotonic_ms();
		if (left <= 0)
			return 0;
		slice.tv_nsec = (left < SLICE_MS ? left : SLICE_MS) * 1000000;
		if (sigtimedwait(&set, NULL, &slice) < 0 && errno == EAGAIN && is_dead(tid))
			return -1;
	}
}

int stop_wait_event(pid_t tid, int timeout_ms, int *status)
{
	int64_t end = monotonic_ms() + timeout_ms;
	int r, signal;

	for (;;) {
		r = freeze_wait_stop(tid, end > monotonic_ms() ? end - monotonic_ms() : 0, status);
		if (r <= 0 || *status >> 16 == PTRACE_EVENT_STOP)
			return r;
		signal = *status >> 16 || WSTOPSIG(*status) & 0x80 ? 0 : WSTOPSIG(*status);
		/* Any stop ends a pending interrupt, so ask again. */
		ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
		ptrace(PTRACE_CONT, tid, NULL, signal);
	}
}

int stop_wait_syscall(pid_t tid, int timeout_ms)
{
	int64_t end = monotonic_ms() + timeout_ms;
	int r, status, signal;

	for (;;) {
		r = freeze_wait_stop(tid, end > monotonic_ms() ? end - monotonic_ms() : 0, &status);
		if (r <= 0)
			return r;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 1;
		signal = status >> 16 ? 0 : WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, tid, NULL, signal);
	}
}

/*
 * Every call from outside of one range of code is a SIGSYS then, those of the agent and of the stub
 * too. Kernels before 6.4 cannot say.
 */
static bool dispatches_calls(pid_t tid)
{
	struct {
		uint64_t mode, selector, offset, length;
	} config = { 0 };

	return syscall(SYS_ptrace, GET_SYSCALL_USER_DISPATCH, tid, sizeof(config), &config) == 0 &&
	       config.mode != PR_SYS_DISPATCH_OFF;
}

/* ioperm(2): the bitmap is shown while there is one. */
static bool has_ports(pid_t tid)
{
	uint64_t first;
	struct iovec io = { &first, sizeof(first) };

	return ptrace(PTRACE_GETREGSET, tid, NT_386_IOPERM, &io) == 0 && io.iov_len;
}

static int refuse_thread(const struct task *t, const struct thread *th, const struct frozen *z,
			 struct fault *f)
{
	if (dispatches_calls(th->tid))
		return fault(f, -ENOTSUP, "task %d, thread %d has its system calls dispatched to "
			     "itself (PR_SET_SYSCALL_USER_DISPATCH), which cannot be dumped; let "
			     "the program switch it off", t->pid, th->tid);
	if (has_ports(th->tid))
		return fault(f, -ENOTSUP, "task %d, thread %d may use I/O ports (ioperm), which "
			     "cannot be dumped; let the program give them up", t->pid, th->tid);
	if (z->regs.cs != USER_CS)
		return fault(f, -ENOTSUP, "task %d, thread %d runs 32-bit code (cs %#llx): only "
			     "64-bit programs can be dumped", t->pid, th->tid, z->regs.cs);
	return 0;
}

/*
 * The kernel aborts an rseq critical section when its thread was scheduled away, on the way
 * back to user space. Registers are about to be replaced (stub, image), which would hide
 * the section from it: so the abort is made here. Sections hold no system calls.
 */
static void abort_rseq(const struct thread *th, struct frozen *z)
{
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort_ip;
	} cs;
	uint64_t at = 0;
	struct iovec to = { &at, sizeof(at) };
	struct iovec from = { (void *)(z->rseq.rseq_abi_pointer + 8), sizeof(at) };

	if ((int64_t)z->regs.orig_rax >= 0 || !z->rseq.rseq_abi_pointer)
		return;
	if (process_vm_readv(th->tid, &to, 1, &from, 1, 0) != sizeof(at) || !at)
		return;
	to = (struct iovec){ &cs, sizeof(cs) };
	from = (struct iovec){ (void *)at, sizeof(cs) };
	if (process_vm_readv(th->tid, &to, 1, &from, 1, 0) != sizeof(cs))
		return;
	if (z->regs.rip - cs.start < cs.length)
		z->regs.rip = cs.abort_ip;
}

int freeze_take(struct task *t, struct thread *th, int status, struct fault *f)
{
	struct frozen *z = th->regs ? th->regs : xcalloc(1, sizeof(*z));

	th->regs = z;
	if (WSTOPSIG(status) != SIGTRAP) {
		t->state = TASK_STOPPED;
		t->stop_signal = WSTOPSIG(status);
	}
	if (ptrace(PTRACE_GETREGS, th->tid, NULL, &z->regs) < 0 ||
	    ptrace(PTRACE_GETSIGMASK, th->tid, sizeof(z->sigmask), &z->sigmask) < 0)
		return fault(f, errno, "read the registers of task %d, thread %d", t->pid, th->tid);
	/*
	 * Calls that the stop itself ended (epoll_wait, ...) are made again: no EINTR for the
	 * program.
	 */
	if (restart_undo_eintr(&z->regs) &&
	    ptrace(PTRACE_SETREGS, th->tid, NULL, &z->regs) < 0)
		return fault(f, errno, "write the registers of task %d, thread %d", t->pid,
			     th->tid);
	/* Kernels before 5.13 cannot say; there a section in progress is not noticed. */
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, th->tid, sizeof(z->rseq), &z->rseq) < 0)
		memset(&z->rseq, 0, sizeof(z->rseq));
	abort_rseq(th, z);
	return refuse_thread(t, th, z, f);
}

/*
 * All signals but SIGSTOP (and SIGKILL) are blocked while an agent runs. It is delivered, so
 * that the kernel begins the group stop, which ends at the thaw; the leader itself goes on.
 */
static void on_sigchld(int signo)
{
	int status, saved = errno;
	size_t i;

	(void)signo;
	for (i = 0; i < nwatched; i++)
		while (waitpid(watched[i], &status, __WALL | WNOHANG) > 0 && WIFSTOPPED(status))
			ptrace(PTRACE_CONT, watched[i], NULL, status >> 16 ? 0 : WSTOPSIG(status));
	errno = saved;
}

void freeze_watch(const pid_t *leaders, size_t n)
{
	struct sigaction sa = { .sa_handler = on_sigchld, .sa_flags = SA_RESTART };

	sigchld(SIG_BLOCK);
	free(watched);
	watched = xcalloc(n, sizeof(*watched));
	memcpy(watched, leaders, n * sizeof(*watched));
	nwatched = n;
	sigaction(SIGCHLD, &sa, NULL);
	sigchld(SIG_UNBLOCK);
}

void freeze_unwatch(void)
{
	sigchld(SIG_BLOCK);
	signal(SIGCHLD, SIG_DFL);
	free(watched);
	watched = NULL;
	nwatched = 0;
}
