/* SPDX-License-Identifier: MIT */
/*
 * cow.h - restore: what a child takes over from its parent by the fork.
 */
#ifndef STASIS_MEM_COW_H
#define STASIS_MEM_COW_H

#include "workers/mem/target.h"

/*
 * Compare a task's images with its parent's. When they have pages in common, t->kept, t->differs
 * and t->drop say what is left to do after the fork, and the parent is marked has_heirs. Several
 * tasks may be compared at once.
 */
void cow_compare(struct target *t);

#endif
