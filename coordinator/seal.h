/* SPDX-License-Identifier: MIT */
/*
 * seal.h - the images that describe a dump as a whole: pstree, inventory, statistics.
 */
#ifndef STASIS_SEAL_H
#define STASIS_SEAL_H

#include "coordinator/job.h"

/* pstree.img */
int seal_tree(struct job *job, struct fault *f);

/*
 * Name the dump: fills job->run_id, once. It names what a dump leaves in the kernel, as firewall
 * tables.
 */
int seal_run_id(struct job *job, struct fault *f);

/*
 * inventory.img makes a directory of images a dump: it appears by rename(2), complete. A directory
 * that held an older one, or a part of one, loses it at the start (seal_break).
 */
int seal_inventory(struct job *job, struct fault *f);
int seal_break(struct job *job, struct fault *f);

/* stats-dump in the work directory; shown on stdout with --display-stats. */
int seal_stats(struct job *job, struct fault *f);

#endif
