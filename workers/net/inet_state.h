/* SPDX-License-Identifier: MIT */
/*
 * inet_state.h - what is learnt once for all internet sockets; of inet.c alone.
 */
#ifndef STASIS_NET_INET_STATE_H
#define STASIS_NET_INET_STATE_H

struct net;

struct inet_state {
	struct groups *groups;
	struct udp_diag *diag;
	char congestion[16];		/* of fresh TCP sockets */
	unsigned char *shared;		/* restore: ports with SO_REUSEPORT */
};

struct inet_state *inet_state(struct net *net);

#endif
