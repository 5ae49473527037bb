/* SPDX-License-Identifier: MIT */
/*
 * restore.h - the messages of a restore.
 */
#ifndef STASIS_MEM_RESTORE_H
#define STASIS_MEM_RESTORE_H

#include "workers/common/worker.h"

int on_mem_prepare(struct call *c, struct fault *f);
int on_gates(struct call *c, struct fault *f);
int on_mem_make_files(struct call *c, struct fault *f);
int on_mem_build(struct call *c, struct fault *f);
int on_mem_finish(struct call *c, struct fault *f);
int on_mem_keep(struct call *c, struct fault *f);

#endif
