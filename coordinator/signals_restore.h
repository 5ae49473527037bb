/* SPDX-License-Identifier: MIT */
/*
 * signals_restore.h - handlers and pending signals.
 */
#ifndef STASIS_SIGNALS_RESTORE_H
#define STASIS_SIGNALS_RESTORE_H

#include "coordinator/inherited.h"
#include "coordinator/ops.h"

/* Of a task: its handlers, then what is pending for it as a whole. */
int signals_restore_task(const struct inherited *ours, struct ops *o, struct task *t,
			 struct fault *f);

/* What is pending for one thread. */
int signals_restore_thread(struct ops *o, struct task *t, uint32_t thread, struct fault *f);

#endif
