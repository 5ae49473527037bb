/* SPDX-License-Identifier: MIT */
/*
 * dump.h - the messages of a dump.
 */
#ifndef STASIS_MEM_DUMP_H
#define STASIS_MEM_DUMP_H

#include "workers/common/worker.h"

int on_mem_collect(struct call *c, struct fault *f);
int on_mem_write(struct call *c, struct fault *f);
int on_mem_write_files(struct call *c, struct fault *f);

#endif
