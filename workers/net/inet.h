/* SPDX-License-Identifier: MIT */
/*
 * inet.h - what all internet sockets have in common: addresses, options, the entry of files.img.
 *
 * A kind's write():	inet_read, fill in what is its own (state, shutdown, backlog, raw),
 * inet_write. A kind's check():	inet_check, then its own.
 * A kind's create():	inet_socket, inet_options, inet_bind, inet_connect as far as the entry says,
 * inet_finish. A kind's fill():	net_each_sock(..., inet_settle).
 * A kind's end():	nothing of this.
 */
#ifndef STASIS_NET_INET_H
#define STASIS_NET_INET_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

#define INET_ADDR_TEXT 80

union inet_addr {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* An entry while it is written: the messages it consists of. Its pointers lead into itself. */
struct inet_entry {
	InetSkEntry e;
	IpOptsEntry ip;
	SkOptsEntry opts;
	TcpOptsEntry tcp;		/* e.tcp_opts is set by TCP sockets */
	uint32_t src[4], dst[4];
	char ifname[IF_NAMESIZE];
};

bool inet_family(const struct sock *s);		/* AF_INET or AF_INET6 */

/*
 * Fill in *x: addresses, owner, options. Its state is CLOSE, or ESTABLISHED with a peer. Release
 * with inet_free, also after a fault.
 */
int inet_read(struct net *net, struct sock *s, struct inet_entry *x, struct fault *f);
/* Learn what inet_read will need: after it, several threads may read sockets like s at once. */
int inet_learn(struct net *net, const struct sock *s, struct fault *f);
int inet_write(struct net *net, struct inet_entry *x, struct fault *f);
void inet_free(struct inet_entry *x);

/* The addresses of a socket; family AF_UNSPEC: it has none. Also of a connection that was reset. */
int inet_names(int fd, int family, union inet_addr *own, union inet_addr *peer, struct fault *f);
/* "10.0.0.1:80", "[::1]:80". Returns text. */
const char *inet_text(const union inet_addr *a, char text[INET_ADDR_TEXT]);
socklen_t inet_addr_len(const union inet_addr *a);
bool inet_is_mapped(const union inet_addr *a);

/* ---- restore ---- */

/* Is the entry one that can be used: lengths, ranges, type? */
int inet_check(struct net *net, struct sock *s, struct fault *f);
/* The addresses of an entry; port 0 and no address where there is none. */
void inet_own(const InetSkEntry *e, union inet_addr *own);
void inet_peer(const InetSkEntry *e, union inet_addr *peer);

/* Make s->fd with the owner and the options that binding and routing depend on. */
int inet_socket(struct net *net, struct sock *s, struct fault *f);
/* All other options; multicast groups. SO_REUSEADDR stays on until inet_settle. */
int inet_options(struct net *net, struct sock *s, struct fault *f);
/* Bind to own; nothing when it is no address to be bound to. */
int inet_bind(struct sock *s, const union inet_addr *own, struct fault *f);
int inet_connect(struct sock *s, const union inet_addr *peer, struct fault *f);
/* Status flags, then, when the entry has it, shutdown. */
int inet_finish(struct sock *s, struct fault *f);
/* All sockets are bound: SO_REUSEADDR and SO_REUSEPORT become what they were. */
int inet_settle(struct net *net, struct sock *s, struct fault *f);

/* Set by UDP of a shutdown that only sock_diag tells: SK_SHUTDOWN__* of a socket. */
int inet_shutdown_of(struct net *net, const struct sock *s, uint32_t *how, struct fault *f);

/* Release what is kept in net->inet. */
void inet_end(struct net *net);

#endif
