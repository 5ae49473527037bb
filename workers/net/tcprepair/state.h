/* SPDX-License-Identifier: MIT */
/*
 * state.h - what the files of this room share about a saved connection; not for callers.
 */
#ifndef STASIS_TCPREPAIR_STATE_H
#define STASIS_TCPREPAIR_STATE_H

#include "workers/net/tcprepair/tcprepair.h"

#define TCPREPAIR_NAME_MAX 128

/* "10.0.0.1:80 -> [fe80::1]:5000". Returns text. */
const char *tcprepair_name(const union tcprepair_addr *local, const union tcprepair_addr *peer,
			   char text[TCPREPAIR_NAME_MAX]);

/* The size that bind() and connect() want. */
socklen_t tcprepair_addr_len(const union tcprepair_addr *a);

/* Do IPv4 packets carry this address? */
bool tcprepair_is_mapped(const union tcprepair_addr *a);

/* Has our FIN a place in the sequence numbers of a connection in this state, has the peer's? */
bool tcprepair_sent_fin(uint32_t state);
bool tcprepair_got_fin(uint32_t state);

#endif
