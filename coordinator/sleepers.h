/* SPDX-License-Identifier: MIT */
/*
 * sleepers.h - how long interrupted sleeps of frozen threads still had to go.
 */
#ifndef STASIS_SLEEPERS_H
#define STASIS_SLEEPERS_H

#include "coordinator/job.h"

/*
 * For frozen threads in a sleep whose rest the kernel tells nobody (poll, futex, nanosleep without
 * rmtp): find it out and note it in thread_frozen()->sleep_left_ns. Before agents are
 * injected. Costs nothing when there are none; where it cannot be known (not root, more than 256
 * such threads) the sleep will start over. -1 with f set when a thread is lost.
 */
int sleepers_measure(struct job *job, struct fault *f);

#endif
