/* SPDX-License-Identifier: MIT */
/*
 * parallel.h - do the same thing to many items with a few threads.
 *
 * For work that needs no ptrace: that belongs to the one thread that traces.
 */
#ifndef STASIS_PARALLEL_H
#define STASIS_PARALLEL_H

#include <stddef.h>

#include "proto/control/fault.h"

/* Do item i. Runs in any thread; -1 with f set ends the work. */
typedef int parallel_work(void *ctx, size_t i, struct fault *f);

struct parallel;

/*
 * Begin with items 0 .. n - 1. Never fails: a few items are not worth a thread, and sometimes none
 * can be started; then parallel_join does all the work.
 */
struct parallel *parallel_start(size_t n, parallel_work *work, void *ctx);

/* Wait until all is done. 0, or -1 with the first fault. Frees p. */
int parallel_join(struct parallel *p, struct fault *f);

#endif
