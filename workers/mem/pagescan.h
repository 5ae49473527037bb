/* SPDX-License-Identifier: MIT */
/*
 * pagescan.h - which pages of a stopped task exist.
 */
#ifndef STASIS_MEM_PAGESCAN_H
#define STASIS_MEM_PAGESCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"

struct extent {
	uint64_t start, end;
	bool guard;			/* MADV_GUARD_INSTALL; has no contents */
};

struct extents {
	struct extent *extent;
	size_t n, cap;
};

/*
 * All pages of the task that are its own: in memory or swapped out, neither of a file nor the
 * shared zero page; and guard regions. In address order. The caller frees extents->extent.
 */
int pagescan(pid_t pid, struct extents *out, struct fault *f);

#endif
