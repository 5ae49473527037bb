/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - what must be put right when this process dies, also by SIGKILL: a child does it.
 */
#ifndef STASIS_KEEPER_H
#define STASIS_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/control/fault.h"

/* Start at KEEPER_NONE. */
struct keeper {
	pid_t pid;
	int fd;				/* its other end closes with us */
	void (*settle)(void *arg);	/* to be run when it is dismissed; NULL: nothing is */
};

#define KEEPER_NONE ((struct keeper){ .fd = -1 })

/*
 * From now on undo(arg) is run, in a child, when we end before keeper_dismiss.
 * It must not use the bus nor the log. Of our descriptors it has keep_fd only (-1: none).
 */
int keeper_start(struct keeper *k, void (*undo)(void *arg), void *arg, int keep_fd,
		 struct fault *f);
/* Nothing is to be undone any more. -1 with f set when it cannot be told. */
int keeper_dismiss(struct keeper *k, struct fault *f);
/*
 * Give the decision to another process: it calls keeper_decide for the descriptor returned, or the
 * keeper undoes when that closes. -1: there is no keeper.
 */
int keeper_hand_over(struct keeper *k);
/*
 * Dismiss keepers handed over, or have them undo; wait until they have, a second at most. Takes the
 * descriptors. False: one could not be told.
 */
bool keeper_decide(int *fds, size_t n, bool dismiss);
/* Undo now, and wait for it. Does nothing when there is no keeper. */
void keeper_undo(struct keeper *k);

#endif
