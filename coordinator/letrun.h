/* SPDX-License-Identifier: MIT */
/*
 * letrun.h - one thread of a stopped tree runs for a while: a device's driver wants its helper
 * thread.
 */
#ifndef STASIS_LETRUN_H
#define STASIS_LETRUN_H

#include "coordinator/job.h"

struct letrun {
	struct task *task;
	struct thread *thread;
	uint64_t mask;		/* its own signal mask */
	bool running;
};

/*
 * Let a thread in a ptrace stop run, with all signals blocked: they wait for it. Our death in this
 * moment is what they do not outlive: the mask stays. -1 with f set when it is not in the tree.
 */
int letrun_begin(struct job *job, const HelperThread *who, struct letrun *r, struct fault *f);

/* Stop it again, with its own mask. Nothing when it does not run. */
int letrun_end(struct letrun *r, struct fault *f);

#endif
