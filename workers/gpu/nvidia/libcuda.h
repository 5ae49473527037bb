/* SPDX-License-Identifier: MIT */
/*
 * libcuda.h - one call of cuCheckpointProcess*, in a process that ends with it.
 */
#ifndef STASIS_NVIDIA_LIBCUDA_H
#define STASIS_NVIDIA_LIBCUDA_H

#include "workers/gpu/nvidia/tool.h"

enum { LIBCUDA_DONE, LIBCUDA_FAILED, LIBCUDA_NO_CUDA_TASK };	/* exit statuses */

/* Is it new enough? Says why not on stdout, or its CUDA version. Ends the process. */
_Noreturn void libcuda_probe(const char *path);
/* Says the answer, or the fault, on stdout. Ends the process. */
_Noreturn void libcuda_call(const char *path, enum tool_deed deed, pid_t pid, unsigned timeout_ms);

#endif
