/* SPDX-License-Identifier: MIT */
/*
 * handle.h - one paused socket, as the files of this room see it; not for callers.
 */
#ifndef STASIS_TCPREPAIR_HANDLE_H
#define STASIS_TCPREPAIR_HANDLE_H

#include <netinet/tcp.h>
#include <stddef.h>

#include "workers/net/tcprepair/state.h"

/* Linux UAPI; the headers of older libcs lack them. */
#ifndef SO_PEERNAME
#define SO_PEERNAME 28
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef TCP_REPAIR_OFF_NO_WP
#define TCP_REPAIR_OFF_NO_WP -1
#endif

struct tcprepair {
	int fd;				/* the caller's */
	bool repairing;			/* TCP_REPAIR is on */
	uint32_t state;			/* when it was paused */
	int reuseaddr;			/* repair mode overwrites it */
	union tcprepair_addr local;	/* family AF_UNSPEC while it has none */
	union tcprepair_addr peer;
};

/* Set a fault "TCP connection A -> B: what"; code as for fault(). Returns -1. */
int tcprepair_fault(const struct tcprepair *c, struct fault *f, int code, const char *what);

/* setsockopt of an int; "what" completes "could not ...". Returns 0 or -1. */
int tcprepair_set(const struct tcprepair *c, int level, int option, int value, const char *what,
		  struct fault *f);

/* TCP_REPAIR on, off, off without window probe. */
int tcprepair_switch(struct tcprepair *c, int mode, struct fault *f);

/* The state the kernel has the socket in now; 0 if it does not say. */
uint32_t tcprepair_now(const struct tcprepair *c);

#endif
