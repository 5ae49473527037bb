/* SPDX-License-Identifier: MIT */
/*
 * check.h - what this kernel and these privileges allow.
 */
#ifndef STASIS_CHECK_H
#define STASIS_CHECK_H

#include "coordinator/options.h"

/* The check command: prints its findings, returns the exit status (0: usable / has the feature). */
int check(const struct cmdline *c);

#endif
