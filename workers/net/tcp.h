/* SPDX-License-Identifier: MIT */
/*
 * tcp.h - TCP sockets, both directions.
 */
#ifndef STASIS_NET_TCP_H
#define STASIS_NET_TCP_H

#include "workers/net/kind.h"

extern const struct sock_kind tcp_kind;

#endif
