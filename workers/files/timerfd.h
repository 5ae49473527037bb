/* SPDX-License-Identifier: MIT */
/*
 * timerfd.h - the row of timers that are read.
 */
#ifndef STASIS_FILES_TIMERFD_H
#define STASIS_FILES_TIMERFD_H

#include "workers/files/type.h"

extern const struct file_type timerfd_type;

#endif
