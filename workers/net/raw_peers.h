/* SPDX-License-Identifier: MIT */
/*
 * raw_peers.h - dump: whom raw sockets are connected to.
 *
 * getpeername() wants a port to be there, which a raw socket seldom has; /proc/net tells.
 */
#ifndef STASIS_NET_RAW_PEERS_H
#define STASIS_NET_RAW_PEERS_H

#include <stdint.h>

struct net;

struct raw_peer {
	uint64_t ino;
	uint32_t state;			/* TCP_* of linux/tcp.h */
	uint32_t address[4];		/* as in an entry */
	uint32_t port;
};

/* NULL: it is not listed, so not connected either. The first call reads all. */
const struct raw_peer *raw_peer(struct net *net, uint64_t ino);
void raw_peers_end(struct net *net);

#endif
