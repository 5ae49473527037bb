/* SPDX-License-Identifier: MIT */
/*
 * packet_fill.h - how far the kernel and the program have come in a ring that receives.
 */
#ifndef STASIS_NET_PACKET_FILL_H
#define STASIS_NET_PACKET_FILL_H

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

/* Dump: fill in head and unread of e->rx_ring; packet_fill_free frees a ring. */
int packet_fill_read(int fd, PacketSockEntry *e, struct fault *f);
void packet_fill_free(PacketRing *r);

/*
 * Restore: fd has its rings and is bound to nothing, without filter. Bring the kernel to where it
 * was, put back what is unread. It may be bound to lo and a protocol that no packet has then.
 */
int packet_fill_apply(int fd, const PacketSockEntry *e, struct fault *f);

#endif
