/* SPDX-License-Identifier: MIT */
/*
 * cloexec.h - which descriptors of a task exec closes, asked of its agent.
 */
#ifndef STASIS_CLOEXEC_H
#define STASIS_CLOEXEC_H

#include "coordinator/job.h"

/*
 * Agents are in: of the descriptors that files named, those that exec does not close are taken out.
 */
int cloexec_ask(struct job *job, FilesCollected *found, struct fault *f);

#endif
