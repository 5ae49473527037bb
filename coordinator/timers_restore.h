/* SPDX-License-Identifier: MIT */
/*
 * timers_restore.h - interval timers and POSIX timers.
 */
#ifndef STASIS_TIMERS_RESTORE_H
#define STASIS_TIMERS_RESTORE_H

#include "coordinator/ops.h"

/* Create the POSIX timers under their ids, not running; all threads must exist. */
int timers_create(struct ops *o, struct task *t, struct fault *f);

/* Start all timers with the time that was left. The last thing before the end. */
int timers_start(struct ops *o, struct task *t, struct fault *f);

#endif
