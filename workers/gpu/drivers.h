/* SPDX-License-Identifier: MIT */
/*
 * drivers.h - the ordered chain of drivers: ours first, hosted plugins behind.
 */
#ifndef STASIS_GPU_DRIVERS_H
#define STASIS_GPU_DRIVERS_H

#include "workers/gpu/driver.h"

/* Show a hook to one driver; arg is what drivers_first was given. */
typedef enum hook_answer driver_asks(struct driver *d, void *arg, struct fault *f);

/* Load the plugins and init all drivers. Once; later calls of the same stage do nothing. */
int drivers_begin(struct gpu *g, enum driver_stage stage, struct fault *f);

/* The first answer that is not HOOK_NOT_MINE. */
enum hook_answer drivers_first(struct gpu *g, driver_asks *ask, void *arg, struct fault *f);

/* Ask all; HOOK_FAILED of one ends it. */
int drivers_each(struct gpu *g, driver_asks *ask, void *arg, struct fault *f);

/* drivers_first for each task, arg: its pid_t. HOOK_FAILED of one ends it, f names that task. */
int drivers_for_tasks(struct gpu *g, const uint32_t *pids, size_t n, driver_asks *ask,
		      struct fault *f);

/* dump: names for the inventory, to be freed by the caller. Returns how many. */
size_t drivers_needed(struct gpu *g, char ***names);

/* restore: the first name of the list that no driver here answers to, NULL when there is none. */
const char *drivers_missing(struct gpu *g);

/* exit() of all that were begun, in order. Nothing when none was. */
void drivers_end(struct gpu *g, int result);

#endif
