/* SPDX-License-Identifier: MIT */
/*
 * fs.h - working directory, root directory and umask of a task.
 */
#ifndef STASIS_FILES_FS_H
#define STASIS_FILES_FS_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* Write fs-PID.img and the reg file entries it names. */
int fs_collect(struct files *fs, const DumpTask *task, struct fault *f);

#endif
