/* SPDX-License-Identifier: MIT */
/*
 * filter.h - would a task's seccomp filters let its threads go home without us?
 */
#ifndef STASIS_FILTER_H
#define STASIS_FILTER_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "coordinator/job.h"

/*
 * Filters are suspended as long as we trace. Should we be killed, the way home (stub.c) makes a few
 * system calls under them. Warn when they do not allow one. mode: SECCOMP_MODE_* of the leader.
 */
void filter_check(const struct task *t, unsigned mode, unsigned long stub);

/* Run a filter; returns SECCOMP_RET_*. A program that is not understood kills. */
unsigned filter_run(const struct sock_filter *code, size_t n, const struct seccomp_data *data);

#endif
