/* SPDX-License-Identifier: MIT */
/*
 * packet_diag.h - dump: what only sock_diag tells of packet sockets.
 */
#ifndef STASIS_NET_PACKET_DIAG_H
#define STASIS_NET_PACKET_DIAG_H

#include <linux/packet_diag.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

struct net;

struct packet_told {
	uint64_t ino;
	uint16_t protocol;		/* network byte order */
	struct packet_diag_info info;
	struct packet_diag_mclist *member;
	size_t nmembers;
	struct packet_diag_ring rx, tx;
	bool has_rx, has_tx, has_fanout;
	uint32_t fanout;
};

/* What is told of the socket ino; the first call asks for all. NULL with f set. */
const struct packet_told *packet_diag(struct net *net, uint64_t ino, struct fault *f);
void packet_diag_end(struct net *net);

#endif
