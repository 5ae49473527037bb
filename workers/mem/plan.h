/* SPDX-License-Identifier: MIT */
/*
 * plan.h - restore: a sequence of system calls for one task, with what each must return.
 *
 * A plan may be longer than the gate's arena: it is run in as few batches as possible.
 */
#ifndef STASIS_MEM_PLAN_H
#define STASIS_MEM_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "workers/common/gate_client.h"

struct plan;

enum plan_want {
	WANT_SUCCESS,			/* any result that is not an error */
	WANT_ADDRESS,			/* argument 0 (mmap), or 4 (mremap to a new place) */
	WANT_ANYTHING,			/* a failure is fine, see plan_result */
};

struct plan *plan_new(void);
void plan_free(struct plan *p);

/*
 * Add a call. what and where (an address) name it in a fault: "map", 0x7f... Unused arguments
 * are 0. Returns its number.
 */
size_t plan_add(struct plan *p, enum plan_want want, const char *what, uint64_t where, uint32_t nr,
		const uint64_t arg[6]);
/* Make argument number `arg` of the last call a pointer to a copy of these bytes. */
void plan_data(struct plan *p, unsigned arg, const void *data, size_t size);
/* Inside those bytes, the 8-byte word at `at` becomes the address of another copy. */
void plan_data_pointer(struct plan *p, size_t at, const void *data, size_t size);

/* Run all calls that have not run yet. The first wrong result is a fault. */
int plan_run(struct plan *p, struct gate *g, struct fault *f);
/* What a call returned. */
int64_t plan_result(const struct plan *p, size_t number);

#endif
