/* SPDX-License-Identifier: MIT */
/*
 * survey.h - stasis check PID: what a dump would do with each object of a running tree.
 */
#ifndef STASIS_SURVEY_H
#define STASIS_SURVEY_H

#include "coordinator/job.h"

/*
 * Prints the tree to stdout. Returns the number of obstacles, 0 when "dump" with the same options
 * would succeed; -1 with f set when it could not be found out. Nothing is stopped.
 */
int survey(struct job *job, struct fault *f);

#endif
