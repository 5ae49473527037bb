/* SPDX-License-Identifier: MIT */
/*
 * packet.h - packet sockets, both directions.
 */
#ifndef STASIS_NET_PACKET_H
#define STASIS_NET_PACKET_H

#include "workers/net/kind.h"

extern const struct sock_kind packet_kind;

#endif
