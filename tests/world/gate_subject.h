/* SPDX-License-Identifier: MIT */
/*
 * gate_subject.h - a task that is nothing but the agent, for tests of the gate.
 */
#ifndef STASIS_GATE_SUBJECT_H
#define STASIS_GATE_SUBJECT_H

#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "workers/common/gate_client.h"

#define SUBJECT_BASE 0x200000000000ul	/* where the region lies in the task */

struct subject {
	pid_t pid;
	int memory;			/* the region, and as much again */
	struct gate *gate;
	struct fault f;			/* told at the end */
};

/* A task with so many mailboxes and bytes of arena; it ends with us, or when it is stopped. */
void gate_subject_start(struct subject *s, uint32_t threads, uint64_t arena);
void gate_subject_stop(struct subject *s);

double gate_now_us(void);

#endif
