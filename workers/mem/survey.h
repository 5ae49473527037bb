/* SPDX-License-Identifier: MIT */
/*
 * survey.h - look at the memory of running tasks, before a dump or for "stasis check PID".
 */
#ifndef STASIS_MEM_SURVEY_H
#define STASIS_MEM_SURVEY_H

#include "workers/common/worker.h"

int on_mem_preflight(struct call *c, struct fault *f);
int on_mem_survey(struct call *c, struct fault *f);

#endif
