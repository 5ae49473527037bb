/* SPDX-License-Identifier: MIT */
/*
 * restore_stats.h - how long a restore took.
 */
#ifndef STASIS_RESTORE_STATS_H
#define STASIS_RESTORE_STATS_H

#include "coordinator/job.h"

/* stats-restore in the work directory; on stdout with --display-stats. */
int restore_stats(struct job *job, struct fault *f);

#endif
