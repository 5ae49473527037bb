/* SPDX-License-Identifier: MIT */
/*
 * uprobes.h - dump: code with breakpoints of uprobes in it.
 */
#ifndef STASIS_MEM_UPROBES_H
#define STASIS_MEM_UPROBES_H

#include "workers/mem/collect.h"
#include "workers/mem/pages.h"

/* Take out of the runs the pages of code that differ from their file by breakpoints only. */
int uprobes_leave_out(const struct space *s, struct runs *runs, struct fault *f);

#endif
