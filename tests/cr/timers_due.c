// SPDX-License-Identifier: MIT
/*
 * timers_due.c - a timer goes off every millisecond or so, whatever a dump is at: each signal
 * comes, once. Signals are blocked, so that those of the time before the thaw wait.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "../case.h"

enum { TIMERS = 3000, FIRST_MS = 200, CHILDREN = 100, APART_MS = 30, WAIT_S = 10 };

static pid_t child[CHILDREN];
static int came[TIMERS];

static struct timespec after_ms(int ms)
{
	return (struct timespec){ ms / 1000, ms % 1000 * 1000000 };
}

static void block(sigset_t *set, int sig)
{
	sigemptyset(set);
	sigaddset(set, sig);
	CHECK(sigprocmask(SIG_BLOCK, set, NULL) == 0);
}

/* An interval timer has no more than one signal waiting. */
static void child_body(int i)
{
	const int ms = FIRST_MS + i * APART_MS;
	struct itimerval it = { .it_value = { ms / 1000, ms % 1000 * 1000 } };
	struct timespec patience = { WAIT_S, 0 };
	sigset_t set;

	block(&set, SIGALRM);
	CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
	case_child_wait();
	CHECK(sigtimedwait(&set, NULL, &patience) == SIGALRM);
	exit(0);
}

static void before(void)
{
	sigset_t set;
	timer_t t;
	int i;

	for (i = 0; i < CHILDREN; i++) {
		child[i] = fork();
		if (child[i] == 0)
			child_body(i);
	}
	case_children_wait(CHILDREN);
	block(&set, SIGRTMIN);
	for (i = 0; i < TIMERS; i++) {
		struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN,
				       .sigev_value.sival_int = i };
		struct itimerspec it = { .it_value = after_ms(FIRST_MS + i) };

		if (timer_create(CLOCK_MONOTONIC, &ev, &t) < 0)
			case_skip("RLIMIT_SIGPENDING allows too few timers");
		CHECK(timer_settime(t, 0, &it, NULL) == 0);
	}
}

static void after(void)
{
	struct timespec patience = { WAIT_S, 0 }, none = { 0, 0 };
	siginfo_t si;
	sigset_t set;
	int i;

	block(&set, SIGRTMIN);
	for (i = 0; i < TIMERS && sigtimedwait(&set, &si, &patience) == SIGRTMIN; i++)
		came[si.si_value.sival_int]++;
	CHECK(i == TIMERS && sigtimedwait(&set, &si, &none) < 0);
	for (i = 0; i < TIMERS; i++)
		CHECK(came[i] == 1);
	case_release();
	for (i = 0; i < CHILDREN; i++)
		case_child_ok(child[i]);
}

const struct test_case test_case = {
	.proves = "a timer that goes off while it is dumped is neither lost nor doubled",
	.before = before,
	.after = after,
	.criu_fails = "what timers send while it dumps is lost or comes twice",
};
