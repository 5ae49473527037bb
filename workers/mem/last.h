/* SPDX-License-Identifier: MIT */
/*
 * last.h - restore: what comes when no mapping of any task changes any more.
 */
#ifndef STASIS_MEM_LAST_H
#define STASIS_MEM_LAST_H

#include "workers/mem/plan.h"
#include "workers/mem/target.h"

/* Refuse values no kernel has. */
int last_check(const struct target *t, struct fault *f);

/* Seals, and what a task has set for its whole address space. */
void last_plan(struct plan *p, const struct target *t);

#endif
