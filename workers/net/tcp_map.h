/* SPDX-License-Identifier: MIT */
/*
 * tcp_map.h - --tcp-map OLD=NEW: TCP sockets of a local address come back with another one.
 */
#ifndef STASIS_NET_TCP_MAP_H
#define STASIS_NET_TCP_MAP_H

#include <sys/socket.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

/* Are the options' values pairs of addresses of the same family? */
int tcp_map_check(const Options *o, struct fault *f);
/* Replace the address, IPv4, IPv6 or mapped; the port stays. */
void tcp_map(const Options *o, struct sockaddr *a);

#endif
