/* SPDX-License-Identifier: MIT */
/*
 * gpu.c - the gpu worker, registered with an empty table: no message is legal for it yet.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/gpu/gpu.h"

static const struct handler handlers[] = { [0] = { 0, NULL } };

struct worker gpu_worker = {
	.name = "gpu",
	.handlers = handlers,
	.nhandlers = 1,
};
