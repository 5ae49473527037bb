/* SPDX-License-Identifier: MIT */
/*
 * creds_restore.h - a thread's credentials; the last thing it gets, since most else needs rights.
 */
#ifndef STASIS_CREDS_RESTORE_H
#define STASIS_CREDS_RESTORE_H

#include "coordinator/inherited.h"
#include "coordinator/ops.h"

int creds_restore(const struct inherited *ours, struct ops *o, struct task *t, uint32_t thread,
		  struct fault *f);

#endif
