/* SPDX-License-Identifier: MIT */
/*
 * udp.h - UDP and UDP-Lite sockets, both directions.
 */
#ifndef STASIS_NET_UDP_H
#define STASIS_NET_UDP_H

#include "workers/net/kind.h"

extern const struct sock_kind udp_kind;

#endif
