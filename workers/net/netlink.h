/* SPDX-License-Identifier: MIT */
/*
 * netlink.h - netlink sockets, both directions.
 */
#ifndef STASIS_NET_NETLINK_H
#define STASIS_NET_NETLINK_H

#include "workers/net/kind.h"

extern const struct sock_kind netlink_kind;

#endif
