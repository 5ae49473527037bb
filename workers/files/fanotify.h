/* SPDX-License-Identifier: MIT */
/*
 * fanotify.h - the row of groups of fanotify marks.
 */
#ifndef STASIS_FILES_FANOTIFY_H
#define STASIS_FILES_FANOTIFY_H

#include "workers/files/type.h"

extern const struct file_type fanotify_type;

#endif
