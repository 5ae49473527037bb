/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - what a worker gives up before it opens the bus.
 */
#ifndef STASIS_SANDBOX_H
#define STASIS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/capability.h>

#include "proto/control/fault.h"

/*
 * Keep only those of the given capabilities that the process has, give up the rest for good (also
 * through exec), and deny by seccomp the system calls that no worker has a use for. hosts: programs
 * and tracing are allowed.
 */
int sandbox_enter(const cap_value_t *caps, size_t ncaps, bool hosts, struct fault *f);

#endif
