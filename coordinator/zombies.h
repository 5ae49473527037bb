/* SPDX-License-Identifier: MIT */
/*
 * zombies.h - tasks that were dead when dumped die again, with their exit status.
 */
#ifndef STASIS_ZOMBIES_H
#define STASIS_ZOMBIES_H

#include "coordinator/job.h"

/*
 * End them, see that their parents could wait for them, and take away the SIGCHLD that parents got
 * by this and by helpers. Must come before signal handlers: with SIGCHLD ignored no
 * zombie would stay.
 */
int zombies_end(struct job *job, struct fault *f);

#endif
