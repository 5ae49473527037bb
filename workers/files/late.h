/* SPDX-License-Identifier: MIT */
/*
 * late.h - files that can be made only when all threads exist.
 */
#ifndef STASIS_FILES_LATE_H
#define STASIS_FILES_LATE_H

#include "workers/files/type.h"

/* In the place of create(): something that keeps the numbers of the file's descriptors. */
enum created late_keep(struct file *file, struct fault *f);

/* All threads exist: have the tasks open such files themselves. */
int late_finish(struct files *fs, struct fault *f);

#endif
