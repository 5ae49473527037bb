/* SPDX-License-Identifier: MIT */
/*
 * check.h - what every unit test program needs: state a condition, count, report.
 *
 * A program runs its tests by check_run and returns check_done() from main. Each test
 * gives one line on stdout: "ok - NAME", "FAIL - NAME" or "skip - NAME: REASON".
 * Exit status: 0 all held, 1 a condition failed, 77 nothing could be tested.
 */
#ifndef STASIS_UNIT_CHECK_H
#define STASIS_UNIT_CHECK_H

#include <stdbool.h>
#include <stdio.h>

struct check_state {
	int passed;			/* tests */
	int failed;
	int skipped;
	int broken;	/* conditions of the current test, also in its children and threads */
	const char *reason;		/* why the current test is skipped */
};

/*
 * One for the whole program, for what tests/world checks, and for children: shared memory, check.c.
 */
struct check_state *check_state(void);

/*
 * The work of CHECK. Returns the condition, so that a test can stop on it. A child that fails
 * must be waited for before its test ends.
 */
static inline bool check_that(bool held, const char *what, const char *file, int line)
{
	if (!held) {
		__atomic_add_fetch(&check_state()->broken, 1, __ATOMIC_RELAXED);
		fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, what);
	}
	return held;
}

#define CHECK(cond) check_that(!!(cond), #cond, __FILE__, __LINE__)

/* Called in a test that cannot run here; it should return at once. */
static inline void check_skip(const char *reason)
{
	check_state()->reason = reason;
}

/* What failed between tests, or in a child that outlives its test, fails too. */
static inline void check_strays(struct check_state *s)
{
	if (!__atomic_exchange_n(&s->broken, 0, __ATOMIC_RELAXED))
		return;
	s->failed++;
	printf("FAIL - what is checked between tests\n");
}

/* Run one test. The name states the property it proves. */
static inline void check_run(const char *name, void (*test)(void))
{
	struct check_state *s = check_state();

	check_strays(s);
	s->reason = NULL;
	test();
	if (__atomic_exchange_n(&s->broken, 0, __ATOMIC_RELAXED)) {
		s->failed++;
		printf("FAIL - %s\n", name);
	} else if (s->reason) {
		s->skipped++;
		printf("skip - %s: %s\n", name, s->reason);
	} else {
		s->passed++;
		printf("ok - %s\n", name);
	}
	fflush(stdout);
}

/* The exit status for main. */
static inline int check_done(void)
{
	struct check_state *s = check_state();

	check_strays(s);
	if (s->failed)
		return 1;
	return s->passed ? 0 : 77;
}

#endif
