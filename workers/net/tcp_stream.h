/* SPDX-License-Identifier: MIT */
/*
 * tcp_stream.h - tcp-stream-INO.img: a connection's numbers and queues, both directions.
 */
#ifndef STASIS_NET_TCP_STREAM_H
#define STASIS_NET_TCP_STREAM_H

#include "workers/net/net.h"
#include "workers/net/tcprepair/tcprepair.h"

int tcp_stream_write(struct net *net, uint32_t ino, const struct tcprepair_state *s,
		     struct fault *f);

/*
 * Read all but the addresses and the state, which are in the socket's entry. 1: done; 0: there is
 * no such image. Clear *s also after a fault.
 */
int tcp_stream_read(struct net *net, uint32_t ino, struct tcprepair_state *s, struct fault *f);

#endif
