/* SPDX-License-Identifier: MIT */
/*
 * semaphores.h - System V semaphores that tasks use.
 */
#ifndef STASIS_MEM_SEMAPHORES_H
#define STASIS_MEM_SEMAPHORES_H

#include <stddef.h>
#include <sys/types.h>

/* Warn of sets that one of these tasks was the last to operate on. */
void semaphores_warn(const pid_t *pid, size_t n);

#endif
