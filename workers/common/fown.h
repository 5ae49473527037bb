/* SPDX-License-Identifier: MIT */
/*
 * fown.h - who is signalled when a descriptor becomes ready.
 */
#ifndef STASIS_COMMON_FOWN_H
#define STASIS_COMMON_FOWN_H

#include <stdbool.h>

#include "proto/control/fault.h"
#include "proto/images/fown.pb-c.h"

/* Read owner and signal of our duplicate of a file into an initialized entry. flags: its O_*. */
int fown_read(int fd, int flags, FownEntry *e, struct fault *f);

/* Is there anything to set? */
bool fown_is_set(const FownEntry *e);

/* Give fd the owner and the signal of e. The owner must exist by now. */
int fown_apply(int fd, const FownEntry *e, struct fault *f);

#endif
