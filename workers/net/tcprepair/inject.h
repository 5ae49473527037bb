/* SPDX-License-Identifier: MIT */
/*
 * inject.h - hand a socket of this machine one segment as if its peer had sent it.
 */
#ifndef STASIS_TCPREPAIR_INJECT_H
#define STASIS_TCPREPAIR_INJECT_H

#include "workers/net/tcprepair/state.h"

struct tcprepair_segment {
	const union tcprepair_addr *local;	/* who receives it */
	const union tcprepair_addr *peer;	/* who seems to send it */
	uint32_t seq;
	uint32_t ack;
	bool fin;
	uint32_t mark;
	int ifindex;				/* the device the receiver is bound to, or 0 */
};

int tcprepair_inject(const struct tcprepair_segment *g, struct fault *f);

#endif
