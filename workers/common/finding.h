/* SPDX-License-Identifier: MIT */
/*
 * finding.h - what a survey ("stasis check PID") says of one object.
 */
#ifndef STASIS_FINDING_H
#define STASIS_FINDING_H

#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

/* For a reply, which owns it. why->code 0: no obstacle. */
Finding *finding_new(pid_t pid, const char *object, const char *deed, const struct fault *why);

#endif
