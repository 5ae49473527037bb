/* SPDX-License-Identifier: MIT */
/*
 * core_dump.h - everything core-*.img says of the frozen threads, and ids-*.img.
 *
 * Order: core_dump_begin, (agents in), core_dump_ask, core_dump_collect, core_dump_registers,
 * core_dump_gather, core_dump_write; core_dump_free at any point.
 */
#ifndef STASIS_CORE_DUMP_H
#define STASIS_CORE_DUMP_H

#include "coordinator/cgroup_sets.h"
#include "coordinator/clocks.h"
#include "coordinator/job.h"

struct core_dump;

/*
 * All threads are stopped at their own registers: take those of the leaders, who will be away once
 * they run their agents. Helper threads begin to read /proc. sets must live as long.
 */
struct core_dump *core_dump_begin(struct job *job, struct cgroup_sets *sets, struct fault *f);

/*
 * Have every agent read what only its task knows. Until core_dump_collect all gates are locked:
 * call it before the workers learn of them, then no two processes wait for each other's gates.
 */
int core_dump_ask(struct core_dump *d, struct fault *f);

/* Take the agents' answers and free the gates. */
int core_dump_collect(struct core_dump *d, struct fault *f);

/*
 * Registers, pending signals and seccomp filters: of one thread (a told_thread: ctx is the struct
 * core_dump), or of all whose are not known yet.
 */
int core_dump_thread(void *ctx, struct task *t, struct thread *th, struct fault *f);
int core_dump_registers(struct core_dump *d, struct fault *f);

/* Fill thread->core with all else that is seen from outside and what the threads were asked. */
int core_dump_gather(struct core_dump *d, struct fault *f);

/* What the mem worker wants of that, after core_dump_collect; the caller frees it. */
MemWrite *core_dump_memory(const struct core_dump *d);

/* What the root task's clocks showed. */
const struct clocks *core_dump_clocks(const struct core_dump *d);

/* Write core-*.img, ids-*.img and seccomp.img. */
int core_dump_write(struct core_dump *d, struct fault *f);

/* Ends what is still going on and unlocks gates. NULL is fine. */
void core_dump_free(struct core_dump *d);

#endif
