/* SPDX-License-Identifier: MIT */
/*
 * cgroup_sets.h - in which cgroups the threads are, each combination stored once.
 */
#ifndef STASIS_CGROUP_SETS_H
#define STASIS_CGROUP_SETS_H

#include "coordinator/job.h"

struct cgroup_sets;

/*
 * The set of our own process becomes number 1; what the options say of cgroups is checked. NULL
 * with f set on failure.
 */
struct cgroup_sets *cgroup_sets_new(const struct job *job, struct fault *f);
void cgroup_sets_free(struct cgroup_sets *s);

/* Number of the set a thread is in; 0 with f set on failure. Several threads may ask at once. */
uint32_t cgroup_sets_of(struct cgroup_sets *s, pid_t pid, pid_t tid, struct fault *f);

/*
 * Write cgroup.img. When every thread is in our own set there is nothing to say and no image:
 * the restored tasks then stay where the restoring process is.
 */
int cgroup_sets_write(const struct cgroup_sets *s, int image_dir, struct fault *f);

#endif
