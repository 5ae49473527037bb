/* SPDX-License-Identifier: MIT */
/*
 * stops.h - wait for ptrace stops.
 */
#ifndef STASIS_STOPS_H
#define STASIS_STOPS_H

#include <sys/types.h>

/* Once, before the first wait: SIGCHLD is blocked, so that a wait can sleep until it comes. */
void stop_prepare(void);

/*
 * Wait for the stop that PTRACE_INTERRUPT asked for. A signal that is being delivered
 * instead is delivered (the stop follows before any of the program's instructions).
 * 1: stopped, 0: deadline, -1: the thread is gone.
 */
int stop_wait_event(pid_t tid, int timeout_ms, int *status);

/*
 * The thread was resumed by PTRACE_SYSCALL: wait until it stops at the entry or exit of a system
 * call. Any other stop is passed over. Returns as above.
 */
int stop_wait_syscall(pid_t tid, int timeout_ms);

#endif
