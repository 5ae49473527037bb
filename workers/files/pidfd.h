/* SPDX-License-Identifier: MIT */
/*
 * pidfd.h - the row of descriptors of processes.
 */
#ifndef STASIS_FILES_PIDFD_H
#define STASIS_FILES_PIDFD_H

#include "workers/files/type.h"

extern const struct file_type pidfd_type;

#endif
