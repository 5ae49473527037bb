/* SPDX-License-Identifier: MIT */
/*
 * replay.h - stasis replay FILE --worker NAME=URL: a recorded conversation, once more.
 */
#ifndef STASIS_REPLAY_H
#define STASIS_REPLAY_H

#include "coordinator/job.h"

/*
 * Say to the worker that job->opts names what the trace at path says was said to it; print each
 * reply beside the recorded one. 0: all the same, 1: something differs, -1 with f set.
 */
int replay(struct job *job, const char *path, struct fault *f);

#endif
