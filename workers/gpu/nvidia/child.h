/* SPDX-License-Identifier: MIT */
/*
 * child.h - something that may hang or crash is done by a child, whose words are read.
 */
#ifndef STASIS_NVIDIA_CHILD_H
#define STASIS_NVIDIA_CHILD_H

#include <sys/types.h>

#include "proto/control/fault.h"

#define CHILD_BUSY 3		/* where a child has busy_fd */

struct child_limits {
	unsigned max_ms;	/* from start to end; 0: none */
	/* without work: CPU time of it or of that thread, memory of that task; 0: none */
	unsigned idle_ms;
	pid_t pid, tid;		/* the thread that works for it; pid 0: none */
};

/* A close-on-exec pipe, its ends above the numbers that a child uses. -1: both are -1, f is set. */
int child_pipe(int ends[2], const char *what, struct fault *f);

/*
 * Run body(arg) in a child and wait for its end. Of our descriptors it has nothing but busy_fd (-1:
 * not even that), which so stays open until it has ended, also when we do not live to see that. Its
 * standard output and error are put into said (size bytes, NUL-terminated, lines joined by "; ").
 * Returns its exit status; -1 with f set when it was killed, by the limits or otherwise.
 */
int child_run(void (*body)(void *arg), void *arg, int busy_fd, const struct child_limits *lim,
	      char *said, size_t size, struct fault *f);

#endif
