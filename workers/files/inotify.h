/* SPDX-License-Identifier: MIT */
/*
 * inotify.h - the row of watches of files.
 */
#ifndef STASIS_FILES_INOTIFY_H
#define STASIS_FILES_INOTIFY_H

#include "workers/files/type.h"

extern const struct file_type inotify_type;

#endif
