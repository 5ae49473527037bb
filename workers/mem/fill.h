/* SPDX-License-Identifier: MIT */
/*
 * fill.h - restore: put the contents of pages into a task.
 */
#ifndef STASIS_MEM_FILL_H
#define STASIS_MEM_FILL_H

#include <stdbool.h>

#include "workers/mem/target.h"

/* Is a mapping so large that a userfaultfd pays? All of it must be fresh. */
bool fill_wants_uffd(const struct target *t, uint32_t vma);

/*
 * Write runs of pages. uffd: a userfaultfd of the task (kept by the caller) for the mappings that
 * want one, or -1. Mappings must be writable.
 */
int fill_pages(const struct target *t, const struct stored_list *what, int uffd, struct fault *f);

#endif
