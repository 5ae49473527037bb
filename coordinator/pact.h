/* SPDX-License-Identifier: MIT */
/*
 * pact.h - what is done to a tree task by task, with system calls that have no way back, is done
 * to all of it: when we die midway the whole tree dies.
 */
#ifndef STASIS_PACT_H
#define STASIS_PACT_H

#include "coordinator/job.h"

struct pact;

/*
 * From pact_bind to pact_end, the death of the calling thread, whatever kills it, is that of every
 * living task of the job. *pact receives NULL where one task makes the tree: there is no half of
 * it. NULL is fine for the others.
 */
int pact_make(const struct job *job, struct pact **pact, struct fault *f);
void pact_bind(struct pact *p);
void pact_end(struct pact *p);

#endif
