/* SPDX-License-Identifier: MIT */
/*
 * raw.h - raw internet sockets, and those that ping without privileges; both directions.
 */
#ifndef STASIS_NET_RAW_H
#define STASIS_NET_RAW_H

#include "workers/net/kind.h"

extern const struct sock_kind raw_kind;

#endif
