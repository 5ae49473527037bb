/* SPDX-License-Identifier: MIT */
/*
 * core_check.h - is a core-*.img complete, and can this program restore what it says?
 */
#ifndef STASIS_CORE_CHECK_H
#define STASIS_CORE_CHECK_H

#include "coordinator/job.h"

/* Of a thread group leader; alive: not a zombie. */
int core_check_leader(pid_t pid, const CoreEntry *core, bool alive, struct fault *f);
/* Of any thread of a living task. */
int core_check_thread(pid_t pid, pid_t tid, const CoreEntry *core, struct fault *f);

#endif
