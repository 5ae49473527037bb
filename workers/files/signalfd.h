/* SPDX-License-Identifier: MIT */
/*
 * signalfd.h - the row of descriptors that signals are read from.
 */
#ifndef STASIS_FILES_SIGNALFD_H
#define STASIS_FILES_SIGNALFD_H

#include "workers/files/type.h"

extern const struct file_type signalfd_type;

#endif
