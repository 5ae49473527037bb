/* SPDX-License-Identifier: MIT */
/*
 * inject_target.h - what inject_target.c and tests/unit/inject_test.c agree on.
 */
#ifndef STASIS_PROGRAMS_INJECT_TARGET_H
#define STASIS_PROGRAMS_INJECT_TARGET_H

#include <stdint.h>

#define TARGET_THREADS 6

/* What a thread does. Each checks that nothing but itself moved. */
enum target_work {
	WORK_SLEEP,		/* nanosleep, never EINTR */
	WORK_COMPUTE,		/* registers, flags, red zone, vector registers */
	WORK_POLL,		/* poll with a limit, never EINTR */
	WORK_FUTEX,		/* futex with a limit, never EINTR */
	WORK_CALLS,		/* system calls that return at once */
	WORK_READ,		/* read from a pipe that a child fills */
	WORK_RSEQ,		/* restartable sequences */
	WORK_COUNT,
};

/* Shared between target and tester. */
struct target_page {
	volatile uint64_t count[TARGET_THREADS];
	volatile uint64_t signals;	/* of SIGRTMIN, handled */
	volatile uint32_t ready;	/* 1: runs, 2: this kernel has no such kind */
	volatile uint32_t wrong;	/* line of the first violation; 0: none */
	volatile uint64_t detail;
};

enum target_kind {
	TARGET_PLAIN,
	TARGET_MDWE,		/* no memory that is writable and executable */
	TARGET_SECCOMP,		/* a filter that allows everything */
	TARGET_STRICT,		/* a filter that kills at calls such a program does not make */
};

#endif
