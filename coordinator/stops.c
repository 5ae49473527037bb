/* SPDX-License-Identifier: MIT */
/*
 * stops.c - wait for ptrace stops; keep agents going when a SIGSTOP comes.
 *
 * Rights:   being the tracer.
 * Holds:    the list of watched leaders, for the signal handler.
 */
#include "coordinator/stops.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "coordinator/freeze.h"
#include "proto/control/util.h"

#define SLICE_MS 20		/* should a SIGCHLD go to another thread of ours */

/* Mutable file scope, for a signal handler has no argument. Changed with SIGCHLD blocked. */
static pid_t *watched;
static size_t nwatched;

int64_t stop_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

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

int freeze_wait_stop(pid_t tid, int timeout_ms, int *status)
{
	int64_t end = stop_now_ms() + timeout_ms, left;
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
		left = end - stop_now_ms();
		if (left <= 0)
			return 0;
		slice.tv_nsec = (left < SLICE_MS ? left : SLICE_MS) * 1000000;
		sigtimedwait(&set, NULL, &slice);
	}
}

int stop_wait_event(pid_t tid, int timeout_ms, int *status)
{
	int64_t end = stop_now_ms() + timeout_ms;
	int r, signal;

	for (;;) {
		r = freeze_wait_stop(tid, end > stop_now_ms() ? end - stop_now_ms() : 0, status);
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
	int64_t end = stop_now_ms() + timeout_ms;
	int r, status, signal;

	for (;;) {
		r = freeze_wait_stop(tid, end > stop_now_ms() ? end - stop_now_ms() : 0, &status);
		if (r <= 0)
			return r;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 1;
		signal = status >> 16 ? 0 : WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, tid, NULL, signal);
	}
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
