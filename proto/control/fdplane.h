/* SPDX-License-Identifier: MIT */
/*
 * fdplane.h - the fd plane: descriptors between two processes, beside the bus.
 *
 * A SOCK_SEQPACKET pair. Each packet carries up to FDPLANE_MAX descriptors and their ticket, a
 * number that the control message (request or reply id) names.
 */
#ifndef STASIS_FDPLANE_H
#define STASIS_FDPLANE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

#define FDPLANE_MAX 253		/* SCM_MAX_FD of the kernel */

/* Send n descriptors under a ticket. They stay the caller's. */
int fdplane_send(int sock, uint64_t ticket, const int *fds, size_t n, struct fault *f);

/*
 * Receive exactly n descriptors (close-on-exec) sent under this ticket; they are the caller's. A
 * different ticket or number of descriptors is a fault and nothing is kept (-1 where one had come).
 */
int fdplane_recv(int sock, uint64_t ticket, int *fds, size_t n, struct fault *f);

/* Close all that has come, without waiting: how many descriptors. */
size_t fdplane_drop(int sock);

#endif
