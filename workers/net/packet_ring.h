/* SPDX-License-Identifier: MIT */
/*
 * packet_ring.h - rings of packet sockets, and where tasks have mapped them.
 */
#ifndef STASIS_NET_PACKET_RING_H
#define STASIS_NET_PACKET_RING_H

#include "proto/control/control.pb-c.h"
#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"
#include "workers/net/packet_diag.h"

/* Dump: fill in the rings of an entry; rx_ring and tx_ring are the caller's to free. */
void packet_ring_describe(const struct packet_told *t, PacketSockEntry *e);
/* Dump: these sockets are mapped: a fault when one is something else. */
int packet_ring_mapped(struct net *net, const uint64_t *ino, size_t n, struct fault *f);

/* Restore. */
int packet_ring_check(const PacketSockEntry *e, struct fault *f);
/* All options are set that cannot be once there are rings. */
int packet_ring_make(int fd, const PacketSockEntry *e, struct fault *f);
/* Remember where tasks shall map sockets; packet_ring_map does it when memory is built. */
int packet_ring_places(struct net *net, SocketMap *const *map, size_t n, struct fault *f);
int packet_ring_map(struct net *net, struct fault *f);
void packet_ring_end(struct net *net);

#endif
