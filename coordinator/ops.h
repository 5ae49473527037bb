/* SPDX-License-Identifier: MIT */
/*
 * ops.h - system calls that a task being restored must make, each with a name for its failure.
 *
 * A list belongs to one task and may hold calls for any of its threads. Lists of several tasks
 * are filled first, then started together, then waited for, so that all tasks work at once.
 */
#ifndef STASIS_OPS_H
#define STASIS_OPS_H

#include "coordinator/job.h"

struct ops;

/*
 * Take the task's gate; ops_end gives it back and frees the list. AUTO_OPS does so on every path.
 */
struct ops *ops_begin(struct task *t);
void ops_end(struct ops *o);

static inline void auto_ops(struct ops **o)
{
	if (*o)
		ops_end(*o);
}

#define AUTO_OPS __attribute__((cleanup(auto_ops)))

/*
 * Make room for n calls and as many bytes of arguments, which then go to the task together;
 * what was added before is run and checked when there is not enough. Needed before each group of
 * ops_put and ops_add.
 */
int ops_reserve(struct ops *o, size_t n, size_t bytes, struct fault *f);
/* Arguments in the arena; see struct gate_arg. */
struct gate_arg ops_put(struct ops *o, const void *data, size_t size);
struct gate_arg ops_put_str(struct ops *o, const char *s);

/*
 * A call of a thread (0 = leader) with nargs gate_args; what: "set the user ids", completes
 * "task N cannot ...". ops_try adds one whose failure does not matter.
 */
void ops_add(struct ops *o, uint32_t thread, const char *what, uint32_t nr, unsigned nargs, ...);
void ops_try(struct ops *o, uint32_t thread, uint32_t nr, unsigned nargs, ...);
/* The same with a result that must be exactly this. */
void ops_expect(struct ops *o, int64_t result);

/* The result of the call added last, as an argument of those of the same thread that follow. */
struct gate_arg ops_last(const struct ops *o);

/* Start what was added, wait and check every result. */
int ops_run(struct ops *o, struct fault *f);

/*
 * One list for each of the tasks that add() adds calls to, all at once. add returns 0, or -1
 * with f set.
 */
typedef int add_fn(struct job *job, struct ops *o, struct task *t, struct fault *f);
int ops_all(struct job *job, struct task **tasks, size_t n, add_fn *add, struct fault *f);

#endif
