/* SPDX-License-Identifier: MIT */
/*
 * stand_in.h - do something as a process that is dead: the kernel records who did it.
 */
#ifndef STASIS_NET_STAND_IN_H
#define STASIS_NET_STAND_IN_H

#include <sys/types.h>

/*
 * Run act(arg) in a passing process with that pid, which shares our descriptors but has a copy of
 * our memory: what act tells beside its result (0, or -1 with errno) must be in shared memory. It
 * may make system calls, nothing else. -1 with errno ESRCH: that pid cannot be had.
 */
int stand_in(pid_t pid, int (*act)(void *arg), void *arg);

#endif
