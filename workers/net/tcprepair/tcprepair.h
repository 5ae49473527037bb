/* SPDX-License-Identifier: MIT */
/*
 * tcprepair.h - take a live TCP connection out of the kernel and put it into a fresh socket.
 *
 * A library of its own: it needs proto/control/{fault,util} and libc, nothing else of Stasis.
 *
 * Save:     tcprepair_pause, tcprepair_save, then close the socket (nothing is sent, the peer
 *           notices nothing) and tcprepair_release; or tcprepair_resume to let it run on, or
 *           tcprepair_cancel to put off the decision.
 * Restore:  socket(), tcprepair_pause, tcprepair_restore, the caller's own socket options,
 *           tcprepair_resume.
 *
 * The caller blocks the network between pause and resume: no packet of the connection may come
 * in (the kernel would answer with RST while there is no socket) or go out. Packets marked
 * tcprepair_how.mark must pass. It runs in the network namespace of the socket, with
 * CAP_NET_ADMIN, and with CAP_NET_RAW to restore a connection whose peer has sent its FIN.
 */
#ifndef STASIS_TCPREPAIR_H
#define STASIS_TCPREPAIR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proto/control/fault.h"

/* The mark that CRIU's network locks let pass as well. */
#define TCPREPAIR_MARK 0xC114u

union tcprepair_addr {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;		/* also ::ffff:a.b.c.d: IPv4 packets of an IPv6 socket */
};

/* Everything the kernel tells about a connection. Fields as in CRIU's tcp_stream_entry. */
struct tcprepair_state {
	uint32_t state;			/* TCP_ESTABLISHED, ... of netinet/tcp.h */
	union tcprepair_addr local;	/* port 0: TCP_CLOSE, the kernel took the port back */
	union tcprepair_addr peer;

	uint32_t inq_seq;		/* next expected from the peer; its FIN counts 1 */
	uint32_t inq_len;		/* bytes arrived and not read */
	uint32_t outq_seq;		/* next to be written; our FIN counts 1 */
	uint32_t outq_len;		/* bytes not acknowledged, without FIN */
	uint32_t unsq_len;		/* the last of them, never sent */
	unsigned char *inq;		/* inq_len bytes, NULL when 0 */
	unsigned char *outq;		/* outq_len bytes, NULL when 0 */

	uint32_t opt_mask;		/* TCPI_OPT_TIMESTAMPS, _SACK, _WSCALE, ... */
	uint32_t mss_clamp;
	uint32_t snd_wscale;
	uint32_t rcv_wscale;
	uint32_t timestamp;		/* our clock; bit 0: it counts microseconds (6.7) */

	bool has_window;		/* TCP_REPAIR_WINDOW: */
	uint32_t snd_wl1;
	uint32_t snd_wnd;
	uint32_t max_window;
	uint32_t rcv_wnd;
	uint32_t rcv_wup;
};

/* What a restore may change. All zero: the same addresses, TCPREPAIR_MARK. */
struct tcprepair_how {
	uint32_t mark;			/* of the segments injected here; 0: TCPREPAIR_MARK */
	/*
	 * Called for the local and for the peer's address before they are used. It may change
	 * address and port, not the family. NULL: keep both.
	 */
	void (*map)(void *ctx, bool local, union tcprepair_addr *addr);
	void *ctx;
};

struct tcprepair;			/* one paused socket */

/*
 * Put a TCP socket, connected or fresh, in repair mode. The handle borrows fd, which must
 * outlive it. Refuses listening sockets, MPTCP, kernel TLS and half-open connections by name.
 */
int tcprepair_pause(int fd, struct tcprepair **out, struct fault *f);

/* Read the whole connection; nothing changes in it. The caller clears *s. */
int tcprepair_save(struct tcprepair *c, struct tcprepair_state *s, struct fault *f);

/*
 * Make the fresh socket of c the connection *s. Options that routing or binding need (freebind,
 * device, mark, IPV6_V6ONLY) are set by the caller before, all others after; a TCP_MAXSEG set
 * before is lost. After a fault the socket is good for close() only, which sends nothing.
 */
int tcprepair_restore(struct tcprepair *c, const struct tcprepair_state *s,
		      const struct tcprepair_how *how, struct fault *f);

/* Let the connection run and free the handle, also after a fault. SO_REUSEADDR stays as it was. */
int tcprepair_resume(struct tcprepair *c, struct fault *f);

/*
 * As if the connection had never been paused: no packet goes out, nothing changes. Frees the
 * handle. For callers that pause a second time before they close the socket.
 */
int tcprepair_cancel(struct tcprepair *c, struct fault *f);

/* Free the handle only: the socket stays in repair mode. NULL is fine. */
void tcprepair_release(struct tcprepair *c);

/* Is *s a connection that can exist? tcprepair_restore asks first; for images read early. */
int tcprepair_check(const struct tcprepair_state *s, struct fault *f);

/* Free the queues; *s is zero then. */
void tcprepair_clear(struct tcprepair_state *s);

/* "FIN_WAIT2"; never NULL. */
const char *tcprepair_state_name(uint32_t state);

#endif
