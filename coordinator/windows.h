/* SPDX-License-Identifier: MIT */
/*
 * windows.h - where the agents of a tree live: one memory for all, a window of it for each task.
 *
 * A window lies at one of two addresses that are free in every task: a task at depth d uses slot
 * d % 2, so that its parent can map it at the other one and the child is born with its agent
 * where it stays.
 */
#ifndef STASIS_WINDOWS_H
#define STASIS_WINDOWS_H

#include "coordinator/job.h"

/* Sizes, addresses, the memory. */
int windows_make(struct job *job, struct fault *f);

/* Map the task's window here, fresh, and have its agent notice our death. */
int window_open(struct job *job, struct task *t, struct fault *f);
void window_close(struct task *t);

#endif
