/* SPDX-License-Identifier: MIT */
/*
 * handle.c - into repair mode and out of it again.
 *
 * Rights:   CAP_NET_ADMIN over the socket's network namespace.
 * Holds:    per handle one struct; the descriptor stays the caller's.
 * A socket in repair mode that is closed sends neither FIN nor RST: the peer does not notice.
 */
#include "workers/net/tcprepair/handle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/control/util.h"

int tcprepair_fault(const struct tcprepair *c, struct fault *f, int code, const char *what)
{
	char text[TCPREPAIR_NAME_MAX];

	if (c->local.sa.sa_family == AF_UNSPEC)
		return fault(f, code, "TCP socket %d: %s", c->fd, what);
	return fault(f, code, "TCP connection %s: %s", tcprepair_name(&c->local, &c->peer, text),
		     what);
}

int tcprepair_set(const struct tcprepair *c, int level, int option, int value, const char *what,
		  struct fault *f)
{
	char text[160];

	if (!setsockopt(c->fd, level, option, &value, sizeof(value)))
		return 0;
	snprintf(text, sizeof(text), "could not %s", what);
	return tcprepair_fault(c, f, errno, text);
}

int tcprepair_switch(struct tcprepair *c, int mode, struct fault *f)
{
	if (setsockopt(c->fd, IPPROTO_TCP, TCP_REPAIR, &mode, sizeof(mode)) < 0) {
		if (errno == EPERM)
			return tcprepair_fault(c, f, -EPERM, "repair mode is not permitted; run "
					       "with CAP_NET_ADMIN over its network namespace");
		return tcprepair_fault(c, f, errno, "could not change repair mode (the kernel "
				       "needs TCP_REPAIR, CONFIG_CHECKPOINT_RESTORE)");
	}
	c->repairing = mode == TCP_REPAIR_ON;
	return 0;
}

uint32_t tcprepair_now(const struct tcprepair *c)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? 0 : info.tcpi_state;
}

static int int_option(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) < 0 ? -1 : value;
}

/*
 * Both addresses, as far as the socket has them. getpeername() keeps silent in SYN_SENT and
 * after a reset; SO_PEERNAME tells as long as the kernel knows, to a caller that asks for no
 * more bytes than the address has.
 */
static int read_addresses(struct tcprepair *c, struct fault *f)
{
	bool v4 = int_option(c->fd, SOL_SOCKET, SO_DOMAIN) == AF_INET;
	socklen_t len = v4 ? sizeof(c->peer.v4) : sizeof(c->peer.v6);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERNAME, &c->peer, &len) < 0) {
		if (errno != ENOTCONN)
			return tcprepair_fault(c, f, errno, "could not read the peer's address");
		memset(&c->peer, 0, sizeof(c->peer));
		return 0;
	}
	len = sizeof(c->local);
	if (getsockname(c->fd, &c->local.sa, &len) < 0)
		return tcprepair_fault(c, f, errno, "could not read the local address");
	return 0;
}

/* Refuse by name what repair mode cannot carry over. */
static int check_kind(const struct tcprepair *c, struct fault *f)
{
	char ulp[32] = "", text[160];
	socklen_t len = sizeof(ulp) - 1;
	int protocol = int_option(c->fd, SOL_SOCKET, SO_PROTOCOL);

	if (protocol != IPPROTO_TCP) {
		snprintf(text, sizeof(text), "is not plain TCP (protocol %d%s)", protocol,
			 protocol == IPPROTO_MPTCP ? ", MPTCP: make the program use TCP, or close "
						     "it" : "");
		return fault(f, -EPROTONOSUPPORT, "socket %d: %s", c->fd, text);
	}
	if (c->state == TCP_LISTEN)
		return fault(f, -EISCONN, "TCP socket %d: it listens and has no connection; "
			     "restore it with bind and listen", c->fd);
	if (c->state == TCP_SYN_RECV)
		return tcprepair_fault(c, f, -EAGAIN, "the handshake is not finished; try again");
	if (!getsockopt(c->fd, IPPROTO_TCP, TCP_ULP, ulp, &len) && ulp[0]) {
		snprintf(text, sizeof(text), "its data passes through the kernel's '%.16s' layer, "
			 "whose keys cannot be read; close it or turn that layer off", ulp);
		return tcprepair_fault(c, f, -EOPNOTSUPP, text);
	}
	return 0;
}

int tcprepair_pause(int fd, struct tcprepair **out, struct fault *f)
{
	struct tcprepair *c = xcalloc(1, sizeof(*c));

	c->fd = fd;
	c->state = tcprepair_now(c);
	c->reuseaddr = int_option(fd, SOL_SOCKET, SO_REUSEADDR);
	if (c->reuseaddr < 0) {
		fault(f, errno, "socket %d", fd);
		goto failed;
	}
	if (check_kind(c, f) < 0 || read_addresses(c, f) < 0 ||
	    tcprepair_switch(c, TCP_REPAIR_ON, f) < 0)
		goto failed;
	*out = c;
	return 0;
failed:
	free(c);
	return -1;
}

static int leave(struct tcprepair *c, int how, struct fault *f)
{
	int r = 0;

	if (c->repairing)
		r = tcprepair_switch(c, how, f);
	if (!r)
		r = tcprepair_set(c, SOL_SOCKET, SO_REUSEADDR, c->reuseaddr,
				  "put SO_REUSEADDR back", f);
	free(c);
	return r;
}

/* Off sends a window probe: the peer's answer sets the data in motion again. */
int tcprepair_resume(struct tcprepair *c, struct fault *f)
{
	return leave(c, TCP_REPAIR_OFF, f);
}

int tcprepair_cancel(struct tcprepair *c, struct fault *f)
{
	return leave(c, TCP_REPAIR_OFF_NO_WP, f);
}

void tcprepair_release(struct tcprepair *c)
{
	free(c);
}
