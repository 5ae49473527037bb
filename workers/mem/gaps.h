/* SPDX-License-Identifier: MIT */
/*
 * gaps.h - restore: addresses that no task uses.
 */
#ifndef STASIS_MEM_GAPS_H
#define STASIS_MEM_GAPS_H

#include "workers/mem/target.h"

/* Gaps that are free in all targets, largest first, at most max. The caller frees out->range. */
void gaps_find(struct target *const *target, size_t n, size_t max, struct range_list *out);

#endif
