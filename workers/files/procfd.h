/* SPDX-License-Identifier: MIT */
/*
 * procfd.h - files below /proc/PID/fdinfo that a task holds open.
 */
#ifndef STASIS_FILES_PROCFD_H
#define STASIS_FILES_PROCFD_H

#include "workers/files/files.h"

/* Restore: when path is a descriptor's fdinfo, have that number exist so that it can be opened. */
int procfd_provide(struct files *fs, const char *path, struct fault *f);

#endif
