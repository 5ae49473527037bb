/* SPDX-License-Identifier: MIT */
/*
 * nsfile.h - open namespaces: /proc/PID/ns/NAME.
 */
#ifndef STASIS_FILES_NSFILE_H
#define STASIS_FILES_NSFILE_H

#include "workers/files/type.h"

extern const struct file_type nsfile_type;

#endif
