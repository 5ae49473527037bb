/* SPDX-License-Identifier: MIT */
/*
 * udp_diag.h - dump: which directions of UDP sockets are shut down; only sock_diag tells.
 */
#ifndef STASIS_NET_UDP_DIAG_H
#define STASIS_NET_UDP_DIAG_H

#include "workers/net/kind.h"

struct udp_diag;

/*
 * The directions (SK_SHUTDOWN__*) of a socket. The first call asks the kernel for all of its kind.
 */
int udp_diag_shutdown(struct udp_diag **known, const struct sock *s, uint32_t *how,
		      struct fault *f);
void udp_diag_end(struct udp_diag *known);

#endif
