/* SPDX-License-Identifier: MIT */
/*
 * settle.h - restore: what a mapping gets after its contents: protection, advice, locks, guards.
 */
#ifndef STASIS_MEM_SETTLE_H
#define STASIS_MEM_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "workers/mem/plan.h"
#include "workers/mem/target.h"

/* The protection a mapping must have until its contents are in. */
uint32_t settle_first_prot(const struct target *t, uint32_t vma);

/* Before anything is mapped: allocate the protection keys in use. */
void settle_plan_keys(struct plan *p, const struct target *t, bool inherited);

/* Take the parent's guard regions out of what was taken over. */
void settle_plan_parent_guards(struct plan *p, const struct target *t);

/* After the contents. */
void settle_plan(struct plan *p, const struct target *t);

#endif
