/* SPDX-License-Identifier: MIT */
/*
 * progress.h - does a process work?
 */
#ifndef STASIS_PROGRESS_H
#define STASIS_PROGRESS_H

#include <stdint.h>
#include <sys/types.h>

/* CPU time and I/O of a process so far: a number that grows while it works. */
uint64_t progress_of(pid_t pid);

#endif
