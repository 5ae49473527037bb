/* SPDX-License-Identifier: MIT */
/*
 * mem.h - the worker that owns address spaces.
 */
#ifndef STASIS_MEM_H
#define STASIS_MEM_H

#include "workers/common/worker.h"

extern struct worker mem_worker;

#endif
