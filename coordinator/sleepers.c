/* SPDX-License-Identifier: MIT */
/*
 * sleepers.c - how long interrupted sleeps still had to go.
 *
 * The kernel keeps the end of an interrupted poll, futex wait or nanosleep in the thread's
 * restart block and shows it nowhere. But a thread that is let go continues that very sleep with a
 * timer whose end is listed in /proc/timer_list; the list does not say whose timer it is.
 * So the sleepers get numbers and are let go in rounds, two for each binary digit: in the
 * first those with a 0 there, in the second those with a 1. A timer seen in exactly one round of
 * each pair spells the number of its thread; other processes' timers do not come and go like that.
 *
 * Dump:     between freeze and injection, about a millisecond for a few sleepers.
 * Rights:   being the tracer; /proc/timer_list (root).
 * Holds:    nothing. A coordinator killed in between leaves threads that sleep on.
 */
#include "coordinator/sleepers.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/freeze.h"
#include "coordinator/restart.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"

#define SLEEPERS_MAX 256
#define ROUNDS_MAX 16
#define DIGITS_MIN 3		/* with fewer, a timer seen in successive rounds could spell one */
#define TIMEOUT_MS 5000
#define SETTLE_TRIES 100
#define SETTLE_US 20

struct sleeper {
	struct task *task;
	struct thread *thread;
	uint64_t number;		/* of the system call */
};

/* One reading of /proc/timer_list: when sleeps end, in ns of CLOCK_MONOTONIC. */
struct reading {
	uint64_t now;
	uint64_t *end;
	size_t n, cap;
};

struct survey {
	struct sleeper *sleepers;
	size_t n;
	unsigned digits;
	struct reading rounds[ROUNDS_MAX];
};

static void find_in_task(struct survey *v, struct task *t)
{
	struct frozen *z;
	uint64_t nr;
	size_t k;

	for (k = 0; k < t->nthreads && v->n < SLEEPERS_MAX; k++) {
		z = thread_frozen(&t->threads[k]);
		if (!z || !restart_rest_unknown(t->threads[k].tid, &z->regs, &nr))
			continue;
		v->sleepers = xrealloc(v->sleepers, v->n + 1, sizeof(*v->sleepers));
		v->sleepers[v->n++] = (struct sleeper){ t, &t->threads[k], nr };
	}
}

/*
 * Each timer is a line with its function, then one with its end. Ends are in the time of the
 * clock whose part of the list it is; ".offset" is what that clock is ahead of CLOCK_MONOTONIC.
 */
static int read_timers(struct reading *r)
{
	AUTO_FCLOSE FILE *list = fopen("/proc/timer_list", "re");
	unsigned long long offset = 0, end;
	bool sleeps = false;
	char line[256];
	uint64_t *slot;

	if (!list)
		return -1;
	while (fgets(line, sizeof(line), list)) {
		if (sscanf(line, " # expires at %llu-", &end) == 1) {
			if (!sleeps)
				continue;
			slot = grow(&r->end, r->n, &r->cap, sizeof(*r->end));
			*slot = end - offset;
			r->n++;
		} else if (sscanf(line, "now at %llu nsecs", &end) == 1) {
			r->now = end;
		} else {
			sscanf(line, " .offset: %llu nsecs", &offset);
		}
		sleeps = strstr(line, "hrtimer_wakeup") != NULL;
	}
	return r->now ? 0 : -1;
}

static bool seen_in(const struct reading *r, uint64_t end)
{
	size_t i;

	for (i = 0; i < r->n; i++)
		if (r->end[i] == end)
			return true;
	return false;
}

static bool is_asleep(pid_t tid)
{
	AUTO_CLOSE int fd = -1;
	char path[32], text[128];
	const char *p;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return true;		/* gone: nothing to wait for */
	text[n] = '\0';
	p = strrchr(text, ')');
	return !p || p[1] != ' ' || p[2] != 'R';
}

static void wait_asleep(pid_t tid, int *tries)
{
	while (*tries > 0 && !is_asleep(tid))
		if ((*tries)-- < SETTLE_TRIES / 2)
			usleep(SETTLE_US);
		else
			sched_yield();
}

/* Not those whose sleep has ended meanwhile: they would run their program. */
static bool takes_part(const struct survey *v, size_t i, unsigned round)
{
	return i < v->n && (i >> round / 2 & 1) == (round & 1) &&
	       restart_interrupted(&thread_frozen(v->sleepers[i].thread)->regs);
}

/*
 * Resume the sleepers of a round and, when stops is set, wait until each stands at the entry or
 * exit of its system call: one whose sleep is over must not get as far as the program.
 */
static int resume(struct survey *v, unsigned round, bool stops, struct fault *f)
{
	size_t i;

	for (i = 0; i < v->n; i++)
		if (takes_part(v, i, round))
			ptrace(PTRACE_SYSCALL, v->sleepers[i].thread->tid, NULL, 0);
	for (i = 0; stops && i < v->n; i++)
		if (takes_part(v, i, round) &&
		    stop_wait_syscall(v->sleepers[i].thread->tid, TIMEOUT_MS) <= 0)
			return fault(f, -EAGAIN, "thread %d died or hangs while it is dumped",
				     v->sleepers[i].thread->tid);
	return 0;
}

/* From the exit of the call to the stop that was asked for, which comes before any instruction. */
static int hold(struct survey *v, unsigned round, struct fault *f)
{
	struct sleeper *s;
	int status;
	size_t i;

	for (i = 0; i < v->n; i++) {
		s = &v->sleepers[i];
		if (!takes_part(v, i, round))
			continue;
		if (stop_wait_event(s->thread->tid, TIMEOUT_MS, &status) <= 0)
			return fault(f, -EAGAIN, "thread %d died or hangs while it is dumped",
				     s->thread->tid);
		if (freeze_take(s->task, s->thread, status, f) < 0)
			return -1;
	}
	return 0;
}

/* Let the sleepers of a round go on, read the list when they sleep, stop them again. */
static int run_round(struct survey *v, unsigned round, struct fault *f)
{
	int tries = SETTLE_TRIES;
	size_t i;

	if (resume(v, round, true, f) < 0 || resume(v, round, false, f) < 0)
		return -1;
	for (i = 0; i < v->n; i++)
		if (takes_part(v, i, round))
			wait_asleep(v->sleepers[i].thread->tid, &tries);
	read_timers(&v->rounds[round]);
	for (i = 0; i < v->n; i++)
		if (takes_part(v, i, round))
			ptrace(PTRACE_INTERRUPT, v->sleepers[i].thread->tid, NULL, NULL);
	return hold(v, round, f);
}

/* The number that a timer's presence in the rounds spells, or -1. */
static long spelled(const struct survey *v, uint64_t end)
{
	unsigned d;
	long number = 0;
	bool zero, one;

	for (d = 0; d < v->digits; d++) {
		zero = seen_in(&v->rounds[2 * d], end);
		one = seen_in(&v->rounds[2 * d + 1], end);
		if (zero == one)
			return -1;
		number |= (long)one << d;
	}
	return number < (long)v->n ? number : -1;
}

/* A thread's timer is in one of the first two rounds. Two that spell one number say nothing. */
static void assign(struct survey *v)
{
	AUTO_FREE uint64_t *ends = xcalloc(v->n, sizeof(*ends));
	AUTO_FREE bool *doubtful = xcalloc(v->n, sizeof(*doubtful));
	struct frozen *z;
	long number;
	size_t i, r;

	for (r = 0; r < 2; r++)
		for (i = 0; i < v->rounds[r].n; i++) {
			number = spelled(v, v->rounds[r].end[i]);
			if (number < 0)
				continue;
			if (ends[number] && ends[number] != v->rounds[r].end[i])
				doubtful[number] = true;
			ends[number] = v->rounds[r].end[i];
		}
	for (i = 0; i < v->n; i++) {
		z = thread_frozen(v->sleepers[i].thread);
		if (!ends[i] || doubtful[i] || !restart_interrupted(&z->regs))
			continue;
		z->sleep_left_ns = ends[i] > v->rounds[0].now ? ends[i] - v->rounds[0].now : 1;
	}
}

/* The kernel continues a sleep as restart_syscall, which hides its number; put that back. */
static void put_numbers_back(struct survey *v)
{
	struct frozen *z;
	size_t i;

	for (i = 0; i < v->n; i++) {
		z = thread_frozen(v->sleepers[i].thread);
		if (z && restart_interrupted(&z->regs))
			z->regs.orig_rax = v->sleepers[i].number;
	}
}

int sleepers_measure(struct job *job, struct fault *f)
{
	struct survey v = { .digits = DIGITS_MIN };
	unsigned round;
	size_t i;
	int r = 0;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->state == TASK_RUNNING)
			find_in_task(&v, job->tasks[i]);
	while (v.n > 1ul << v.digits)
		v.digits++;
	if (v.n && !access("/proc/timer_list", R_OK)) {
		for (round = 0; !r && round < 2 * v.digits; round++)
			r = run_round(&v, round, f);
		if (!r)
			assign(&v);
		put_numbers_back(&v);
	}
	for (round = 0; round < ROUNDS_MAX; round++)
		free(v.rounds[round].end);
	free(v.sleepers);
	return r;
}
