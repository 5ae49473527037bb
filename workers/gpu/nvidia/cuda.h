/* SPDX-License-Identifier: MIT */
/*
 * cuda.h - the CUDA tasks of a tree, from lock to unlock.
 */
#ifndef STASIS_NVIDIA_CUDA_H
#define STASIS_NVIDIA_CUDA_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

struct cuda;

/* opts: for their timeout_s; must live as long as what is returned, which cuda_free ends. */
struct cuda *cuda_new(const Options *opts);
/* Tasks that are not as they were before (cuda_end) are put right by the keeper now. */
void cuda_free(struct cuda *c);

/*
 * All of these: 1 it is a CUDA task (see each), 0 it is none, -1 with f set, which does not name
 * the task.
 */

/* Would cuda_pause do? For a task that holds a device; name begins this fault. Changes nothing. */
int cuda_judge(struct cuda *c, pid_t pid, const char *name, struct fault *f);
/*
 * Tasks run: this one's CUDA is locked, and from now on put right should we die. One that
 * somebody else has locked or checkpointed stays as it is.
 */
int cuda_pause(struct cuda *c, pid_t pid, struct fault *f);
/* Tasks stand still: *tid must run for what is to come (checkpoint, end, resume). */
int cuda_helper(struct cuda *c, pid_t pid, pid_t *tid, struct fault *f);
/* It has no device any more, its device memory is in its own. */
int cuda_checkpoint(struct cuda *c, pid_t pid, struct fault *f);
/* Why a task has a device after all; -1. */
int cuda_leftover(const struct cuda *c, pid_t pid, struct fault *f);
/*
 * The end of a dump. run_on: the tasks live, each is as before from now on, the faults are logged;
 * otherwise they are to be killed. True: nothing is left to do. False: the keeper is armed still
 * (for those that are to be killed, or that could not be put right), and cuda_free would set it to
 * work.
 */
bool cuda_end(struct cuda *c, bool run_on);

/* A restore of tasks, some of which use CUDA: the interface must be there. 0, or -1 with f set. */
int cuda_require(struct cuda *c, struct fault *f);
/* Tasks are stopped, but for the helper: this one's CUDA runs. */
int cuda_resume(struct cuda *c, pid_t pid, struct fault *f);

#endif
