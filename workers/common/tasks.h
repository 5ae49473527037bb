/* SPDX-License-Identifier: MIT */
/*
 * tasks.h - restore: the tasks of the tree and the gates into them, for net and gpu.
 */
#ifndef STASIS_TASKS_H
#define STASIS_TASKS_H

#include <stddef.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

struct gate;
struct tasks;

/* The living ones of a list. */
struct tasks *tasks_new(RestoreTask *const *list, size_t n);
void tasks_free(struct tasks *s);

/* Map the gates of new tasks. fd: of the gate memory, with the first ones; taken over. -1: none. */
int tasks_gates(struct tasks *s, const Gates *req, int fd, struct fault *f);
/* Numbers that may be used. */
int tasks_set_spare(struct tasks *s, SpareFd *const *list, size_t n, struct fault *f);

/* NULL: the task has no gate, or its spare numbers are not known yet. s may be NULL. */
struct gate *tasks_gate(struct tasks *s, pid_t pid);
/* The first descriptor number of that task that is ours for now: SpareFd. -1: not known. */
int tasks_spare(struct tasks *s, pid_t pid);

#endif
