/* SPDX-License-Identifier: MIT */
/*
 * eventfd.h - the row of event counters.
 */
#ifndef STASIS_FILES_EVENTFD_H
#define STASIS_FILES_EVENTFD_H

#include "workers/files/type.h"

extern const struct file_type eventfd_type;

#endif
