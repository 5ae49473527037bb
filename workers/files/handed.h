/* SPDX-License-Identifier: MIT */
/*
 * handed.h - files that another worker makes and hands over: sockets, files of devices.
 */
#ifndef STASIS_FILES_HANDED_H
#define STASIS_FILES_HANDED_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* The create() of such types: later, until it has been handed over. */
enum created handed_create(struct files *fs, struct file *file, struct fault *f);

/* Take duplicates of what the other worker made. */
int handed_take(struct files *fs, const MadeFiles *made, struct fault *f);

#endif
