/* SPDX-License-Identifier: MIT */
/*
 * obstacles.h - what would make a dump fail, asked of the workers before anything is stopped.
 */
#ifndef STASIS_OBSTACLES_H
#define STASIS_OBSTACLES_H

#include "coordinator/job.h"
#include "coordinator/preflight.h"

struct obstacles {
	struct preflight preflight;
	pid_t *walked;			/* those that have been judged */
	size_t nwalked;
};

/* The tasks run. -1 with the first obstacle in f; the others are in the log. */
int obstacles_find(struct job *job, struct obstacles *o, struct fault *f);

/* The tree stands: tasks that were born meanwhile are judged now. */
int obstacles_of_new(struct job *job, struct obstacles *o, struct fault *f);
void obstacles_free(struct obstacles *o);

#endif
