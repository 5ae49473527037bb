// SPDX-License-Identifier: MIT
/*
 * timers_waited.c - timers that fire while the restore is at work, and whose signals a thread waits
 * for (as glibc does for SIGEV_THREAD, with a signal that its sigprocmask cannot name).
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../case.h"

enum { FIRST = 32, SIGNALS = 3 };		/* glibc's own, and the first of ours */

static volatile pid_t waiter;
static volatile int seen[SIGNALS];

static void *wait_for_them(void *arg)
{
	uint64_t set = 7ull << (FIRST - 1);
	char info[128];
	long got;

	CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, sizeof(set)) == 0);
	waiter = gettid();
	for (;;) {
		got = syscall(SYS_rt_sigtimedwait, &set, info, NULL, sizeof(set));
		if (got >= FIRST && got < FIRST + SIGNALS)
			seen[got - FIRST]++;
	}
	return arg;
}

static void start_timer(int signo)
{
	/* They fire while nobody traces the thread yet: an ignored signal is dropped then. */
	const struct itimerspec often = { { 0, 30000 }, { 0, 30000 } };
	struct {
		uint64_t value;
		int32_t signo, notify, tid, pad[11];
	} event = { .signo = signo, .notify = SIGEV_THREAD_ID, .tid = waiter };
	int id = -1;

	CHECK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) == 0);
	CHECK(syscall(SYS_timer_settime, id, 0, &often, NULL) == 0);
}

static bool all_seen(void)
{
	int i;

	for (i = 0; i < SIGNALS; i++)
		if (!seen[i])
			return false;
	return true;
}

static bool they_come(void)
{
	int i;

	for (i = 0; i < SIGNALS; i++)
		seen[i] = 0;
	for (i = 0; i < 2000 && !all_seen(); i++)
		case_sleep_ms(1);
	return all_seen();
}

static void before(void)
{
	struct {
		void (*handler)(int);
		uint64_t flags, restorer, mask;
	} ignore = { SIG_IGN, 0, 0, 0 };
	pthread_t thread;
	int i;

	CHECK(syscall(SYS_rt_sigaction, FIRST, &ignore, NULL, 8) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_them, NULL) == 0);
	while (!waiter)
		case_sleep_ms(1);
	for (i = 0; i < SIGNALS; i++)
		start_timer(FIRST + i);
	CHECK(they_come());
}

static void after(void)
{
	CHECK(they_come());
}

const struct test_case test_case = {
	.proves = "timers go on whose signals were blocked, ignored or not, when they fired",
	.before = before,
	.after = after,
};
