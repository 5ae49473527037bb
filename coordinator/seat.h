/* SPDX-License-Identifier: MIT */
/*
 * seat.h - where the agent sits in a task. Shared by inject.c, guests.c and fired.c only.
 */
#ifndef STASIS_SEAT_H
#define STASIS_SEAT_H

#include <stdbool.h>

#include "coordinator/inject.h"
#include "coordinator/stub.h"

struct seat {
	int mem;			/* /proc/PID/mem */
	int region_fd;			/* the region's memory, until it is mapped here */
	struct stub_room room;
	struct stub_region region;	/* as mapped: the gate's region, then a page of records */
	struct stub_layout lay;
	struct stub_record *records;	/* that page, mapped here */
	bool away;			/* the leader is not at its program's registers */
	bool running;			/* and not stopped */
	bool lost;			/* it died or does not answer: leave it alone */
	bool protect;			/* the mapping begins read-execute: MDWE */
};

/* Watch the leaders of all seats (freeze_watch). */
void inject_watch(struct job *job);

#define SEAT_TIMEOUT_MS 10000

/* The fault for a thread that is gone; -1. */
int seat_died(struct task *t, pid_t tid, struct fault *f);

/* Stop the thread, wherever it is, where the kernel looks at signals. */
int seat_stop(struct task *t, pid_t tid, bool running, struct fault *f);

/* Let it have the registers and the mask of the freeze. It is in such a stop. */
int seat_home(struct job *job, struct thread *th, struct fault *f);

/* SETREGS and SETSIGMASK for a thread about to run our code; regs end in the stub. */
int seat_away(struct job *job, struct thread *th, const struct user_regs_struct *regs,
	      struct fault *f);

#endif
