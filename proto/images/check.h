/* SPDX-License-Identifier: MIT */
/*
 * check.h - is this packed message safe to unpack and complete?
 */
#ifndef STASIS_CHECK_H
#define STASIS_CHECK_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

/*
 * Walk a packed message by its descriptor. 0, or -1 with f naming the field that is
 * missing, cut off, of the wrong wire type, an unknown enum value, or nested too deep.
 */
int message_check(const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t len,
		  struct fault *f);

/* False for a flat message without enums: what it can get wrong, unpacking notices itself. */
bool message_needs_check(const ProtobufCMessageDescriptor *desc);

#endif
