/* SPDX-License-Identifier: MIT */
/*
 * scripts.h - run the user's action scripts (--action-script) at a moment of an operation.
 */
#ifndef STASIS_SCRIPTS_H
#define STASIS_SCRIPTS_H

#include "coordinator/job.h"

/*
 * Run all scripts for an action ("pre-dump", "post-restore", ...), each after the other. A script
 * that cannot be run or does not exit with 0 is a fault, after all have had their turn.
 * The root task's pid is told once it is known.
 */
int scripts_run(struct job *job, const char *action, struct fault *f);

#endif
