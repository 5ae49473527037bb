/* SPDX-License-Identifier: MIT */
/*
 * clocks.h - CLOCK_MONOTONIC and CLOCK_BOOTTIME, which for a restored tree go on from the dump.
 */
#ifndef STASIS_CLOCKS_H
#define STASIS_CLOCKS_H

#include "coordinator/job.h"

/* What the root task's clocks show, which may be in a time namespace of its own. */
struct clocks {
	struct timespec monotonic, boottime;
};

/* Dump: write timens-0.img. */
int clocks_write(struct job *job, const struct clocks *clocks, struct fault *f);

/*
 * Restore: read and check timens-*.img; then, when the root task exists and nothing else, have
 * it enter a time namespace in which its clocks go on. Without the rights for that, or an image,
 * its clocks are this machine's.
 */
int clocks_read(struct job *job, struct fault *f);
int clocks_restore(struct job *job, struct fault *f);

#endif
