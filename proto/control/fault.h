/* SPDX-License-Identifier: MIT */
/*
 * fault.h - how a failure travels: a code and one sentence a person can act on.
 */
#ifndef STASIS_FAULT_H
#define STASIS_FAULT_H

#include <stdnoreturn.h>

struct fault {
	int code;		/* errno value; 0 = no fault */
	char text[480];		/* object, task, reason, remedy; no newline */
};

/*
 * Set *f and return -1. A code that is an errno value has its text appended
 * ("...: No such file or directory"); pass a negative code to keep the sentence
 * as it is (f->code becomes -code). The first fault set stays: later calls on
 * a set fault change nothing, so the root cause is what the user sees.
 */
int fault(struct fault *f, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "text: " before the sentence of a fault that is set; returns -1. */
int fault_prefix(struct fault *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Out of memory or a broken invariant: print to the log and exit(1). */
noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
