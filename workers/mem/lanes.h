/* SPDX-License-Identifier: MIT */
/*
 * lanes.h - work on several tasks at once.
 */
#ifndef STASIS_MEM_LANES_H
#define STASIS_MEM_LANES_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/control/fault.h"

/*
 * Call one(ctx, i, f) for i from 0 to n-1, in any order, in as many threads as there are processors
 * (but in this one alone when parallel is false). After the first fault no more are begun; it ends
 * in f.
 */
int lanes_run(size_t n, bool parallel, int (*one)(void *ctx, size_t i, struct fault *f), void *ctx,
	      struct fault *f);

#endif
