/* SPDX-License-Identifier: MIT */
/*
 * case.h - what a checkpoint/restore case in tests/cr/ sees.
 *
 * A case sets something up in before(), is frozen and thawed (twice, as a
 * rule) while case.c sleeps, and looks at it again in after().
 */
#ifndef TESTS_CASE_H
#define TESTS_CASE_H

#include <stdbool.h>
#include <sys/types.h>

struct test_case {
	const char *proves;	/* one sentence */
	const char *options;	/* more options for dump and restore, or NULL */
	const char *criu_fails;	/* why CRIU 4.2 cannot do this, or NULL */
	/*
	 * "WORD: reason" when this version refuses it, as it then must in a sentence with WORD; or
	 * NULL
	 */
	const char *later;
	bool needs_root;	/* the case itself needs uid 0 */
	void (*before)(void);
	void (*between)(void);	/* or NULL: runs in a process of its own after each dump */
	void (*after)(void);
};

extern const struct test_case test_case;

/*
 * Note a failure and go on. May be used in any thread and any child, before
 * and after the thaw; errno is part of the note.
 */
#define CHECK(cond) check_that((cond), #cond, __FILE__, __LINE__)

bool check_that(bool ok, const char *text, const char *file, int line);

/* Stop here: this machine lacks what the case needs. Only in before(). */
void case_skip(const char *reason) __attribute__((noreturn));

/* The path of a file in this case's own directory; the last four stay valid. */
const char *case_path(const char *name);

/* Sleep without being misled by signals. */
void case_sleep_ms(int ms);

/*
 * In a child: wait until the parent's after() has called case_release(), then
 * return. Polls for a file, so the child needs no object of its own for it.
 */
void case_child_wait(void);
void case_release(void);

/*
 * In before(): until n tasks or threads are in case_child_wait(), where the dump shall find them.
 */
void case_children_wait(int n);

/*
 * In before(): until the thread or child *tid sleeps in that system call (SYS_...), where the dump
 * shall find it. *tid may be 0 until the thread itself has set it.
 */
void case_await_call(const pid_t *tid, long call);

/* Reap a child and check that it exited with 0. */
void case_child_ok(pid_t pid);

#endif
