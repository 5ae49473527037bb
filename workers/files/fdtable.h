/* SPDX-License-Identifier: MIT */
/*
 * fdtable.h - dump of the descriptor tables of tasks.
 */
#ifndef STASIS_FILES_FDTABLE_H
#define STASIS_FILES_FDTABLE_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* Before the freeze: add a sentence to out for each thing in the way of a dump of the task. */
int fdtable_preflight(struct files *fs, pid_t pid, FilesPreflightDone *out, struct fault *f);

/* Write fdinfo-FILES_ID.img, and the entry of every open file not seen before. */
int fdtable_collect(struct files *fs, const DumpTask *task, struct fault *f);

/*
 * Files in no table: the net worker received them from a socket's queue. Writes the entries of
 * those not seen before; ids receives one id for each.
 */
int fdtable_adopt(struct files *fs, const FilesAdopt *req, uint32_t *ids, struct fault *f);

#endif
