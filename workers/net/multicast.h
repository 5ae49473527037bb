/* SPDX-License-Identifier: MIT */
/*
 * multicast.h - the multicast groups that a socket has joined, both directions.
 */
#ifndef STASIS_NET_MULTICAST_H
#define STASIS_NET_MULTICAST_H

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

struct groups;

/* Read the groups of a socket into e->member; inet_free frees them. */
int multicast_read(struct groups **known, const struct sock *s, InetSkEntry *e, struct fault *f);
int multicast_check(const InetSkEntry *e, struct fault *f);
int multicast_join(int fd, const InetSkEntry *e, struct fault *f);
void multicast_end(struct groups *known);

#endif
