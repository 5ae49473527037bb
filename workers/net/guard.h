/* SPDX-License-Identifier: MIT */
/*
 * guard.h - what a dump changes in the tasks' sockets is undone even when this worker is killed.
 *
 * A small process shares our descriptors and a list of what to undo. It does nothing until we die.
 */
#ifndef STASIS_NET_GUARD_H
#define STASIS_NET_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"

struct net;

/*
 * Undoes one change. Must be harmless when the change was never made or is undone already. It may
 * run in the guard: system calls only, no memory but constants, no locks.
 */
typedef void guard_undo(int fd, uint64_t arg);

/*
 * Start the process, if there is none yet. It has a copy of our memory as it is now, each page of
 * which is copied when we write to it: where much is to come, it is started before. -1 with f set.
 */
int guard_begin(struct net *net, struct fault *f);

/*
 * Call before the change. fd, which must stay open until the action is dropped, and arg are for
 * undo. The first one starts the process, as guard_begin. Returns the action's number, or -1 with f
 * set.
 */
int guard_add(struct net *net, int fd, guard_undo *undo, uint64_t arg, struct fault *f);

/*
 * The change lasts now, or does no longer: what is hot is undone first, before the tasks run on.
 * May be called by any thread of this worker.
 */
void guard_hot(struct net *net, int action, bool hot);

/*
 * What is done instead of undoing when the tasks are dead: guard_doom says that they are to be
 * killed, pid being the first. It is for the process only; guard_end does not do it.
 */
int guard_add_dead(struct net *net, int fd, guard_undo *act, uint64_t arg, struct fault *f);
int guard_doom(struct net *net, pid_t pid, struct fault *f);

/* The change is undone. */
void guard_drop(struct net *net, int action);

/* The end: what is left is undone, last first, or (undo false) stays as it is. The process ends. */
void guard_end(struct net *net, bool undo);

#endif
