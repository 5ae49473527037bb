/* SPDX-License-Identifier: MIT */
/*
 * fired.h - signals of timers that went off while a dump read them.
 */
#ifndef STASIS_FIRED_H
#define STASIS_FIRED_H

#include <stdint.h>

#include "coordinator/job.h"

/*
 * Add to the task's records of pending signals, which were read before its timers, what timers have
 * sent that were off when they were read. pending: the signals (bit 0: signal 1) that the agent saw
 * after it had read the interval timers. The agent is in, the gate free.
 */
int fired_collect(struct job *job, struct task *t, uint64_t pending, struct fault *f);

#endif
