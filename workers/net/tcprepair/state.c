/* SPDX-License-Identifier: MIT */
/*
 * state.c - the saved connection as plain data: its name, and whether it can exist.
 *
 * Rights:   none.
 * Holds:    nothing.
 * A saved state comes out of an image, so tcprepair_check trusts no field of it. What the kernel
 * would refuse later (TCP_REPAIR_WINDOW's rules, 4.8) is refused here, before a socket exists.
 */
#include "workers/net/tcprepair/state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "proto/control/util.h"

#define QUEUE_MAX (1u << 30)	/* the largest window of RFC 7323 */
#define WSCALE_MAX 14u
#define MSS_MIN 48u		/* TCP_MIN_SND_MSS of the kernel */
#define MSS_MAX 65535u

static const char *const names[] = {
	[TCP_ESTABLISHED] = "ESTABLISHED", [TCP_SYN_SENT] = "SYN_SENT",
	[TCP_SYN_RECV] = "SYN_RECV",	   [TCP_FIN_WAIT1] = "FIN_WAIT1",
	[TCP_FIN_WAIT2] = "FIN_WAIT2",	   [TCP_TIME_WAIT] = "TIME_WAIT",
	[TCP_CLOSE] = "CLOSE",		   [TCP_CLOSE_WAIT] = "CLOSE_WAIT",
	[TCP_LAST_ACK] = "LAST_ACK",	   [TCP_LISTEN] = "LISTEN",
	[TCP_CLOSING] = "CLOSING",
};

const char *tcprepair_state_name(uint32_t state)
{
	return state < ARRAY_LEN(names) && names[state] ? names[state] : "an unknown state";
}

socklen_t tcprepair_addr_len(const union tcprepair_addr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

bool tcprepair_is_mapped(const union tcprepair_addr *a)
{
	return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr);
}

static void print_addr(const union tcprepair_addr *a, char *text, size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (a->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof(ip));
		snprintf(text, size, "%s:%u", ip, ntohs(a->v4.sin_port));
	} else if (a->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof(ip));
		snprintf(text, size, "[%s]:%u", ip, ntohs(a->v6.sin6_port));
	} else {
		snprintf(text, size, "?");
	}
}

const char *tcprepair_name(const union tcprepair_addr *local, const union tcprepair_addr *peer,
			   char text[TCPREPAIR_NAME_MAX])
{
	char from[TCPREPAIR_NAME_MAX / 2 - 4], to[TCPREPAIR_NAME_MAX / 2 - 4];

	print_addr(local, from, sizeof(from));
	print_addr(peer, to, sizeof(to));
	snprintf(text, TCPREPAIR_NAME_MAX, "%s -> %s", from, to);
	return text;
}

/* TCP_CLOSE counts as both: it is rebuilt as a connection that both ends have closed. */
bool tcprepair_sent_fin(uint32_t state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	       state == TCP_LAST_ACK || state == TCP_CLOSE;
}

bool tcprepair_got_fin(uint32_t state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING ||
	       state == TCP_CLOSE;
}

void tcprepair_clear(struct tcprepair_state *s)
{
	free(s->inq);
	free(s->outq);
	memset(s, 0, sizeof(*s));
}

static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* The sentence that is wrong with the addresses, NULL when they are a pair. */
static const char *wrong_addresses(const struct tcprepair_state *s)
{
	sa_family_t family = s->local.sa.sa_family;

	if (family != AF_INET && family != AF_INET6)
		return "its local address is neither IPv4 nor IPv6";
	if (s->peer.sa.sa_family != family)
		return "its two addresses are of different families";
	if (tcprepair_is_mapped(&s->local) != tcprepair_is_mapped(&s->peer))
		return "only one of its addresses is IPv4-mapped";
	/* sin_port and sin6_port lie at the same place. */
	if (!s->peer.v4.sin_port)
		return "the peer's port is 0";
	if (!s->local.v4.sin_port && s->state != TCP_CLOSE)
		return "its local port is 0";
	return NULL;
}

static const char *wrong_queues(const struct tcprepair_state *s)
{
	if (s->inq_len > QUEUE_MAX || s->outq_len > QUEUE_MAX)
		return "a queue is larger than 1 GiB, the largest window of TCP";
	if (s->unsq_len > s->outq_len)
		return "more bytes are unsent than are in the send queue";
	if (s->inq_len && !s->inq)
		return "the bytes of the receive queue are missing";
	if (s->outq_len && !s->outq)
		return "the bytes of the send queue are missing";
	if ((s->state == TCP_FIN_WAIT2 || s->state == TCP_CLOSE) && s->outq_len)
		return "its send queue must be empty in this state";
	if (s->state == TCP_SYN_SENT && (s->inq_len || s->outq_len))
		return "a connection that is not yet answered has no data";
	return NULL;
}

static const char *wrong_window(const struct tcprepair_state *s)
{
	if (!s->has_window || s->state == TCP_CLOSE || s->state == TCP_SYN_SENT)
		return NULL;
	if (s->max_window < s->snd_wnd)
		return "its send window is larger than the largest that was ever offered";
	if (s->rcv_wnd > QUEUE_MAX || s->max_window > QUEUE_MAX)
		return "a window is larger than 1 GiB";
	if (after(s->snd_wl1, s->inq_seq + s->rcv_wnd))
		return "its window was updated by a segment beyond the receive window";
	if (after(s->rcv_wup, s->inq_seq))
		return "its receive window starts after the received data";
	return NULL;
}

static const char *wrong_options(const struct tcprepair_state *s)
{
	if ((s->opt_mask & TCPI_OPT_WSCALE) &&
	    (s->snd_wscale > WSCALE_MAX || s->rcv_wscale > WSCALE_MAX))
		return "a window scale is larger than 14";
	if (s->mss_clamp < MSS_MIN || s->mss_clamp > MSS_MAX)
		return "its maximum segment size is not between 48 and 65535";
	return NULL;
}

int tcprepair_check(const struct tcprepair_state *s, struct fault *f)
{
	const char *wrong = NULL;
	char text[TCPREPAIR_NAME_MAX];

	if (s->state != TCP_ESTABLISHED && s->state != TCP_SYN_SENT &&
	    !tcprepair_sent_fin(s->state) && !tcprepair_got_fin(s->state))
		wrong = "no live connection is in this state";
	if (!wrong)
		wrong = wrong_addresses(s);
	if (!wrong)
		wrong = wrong_queues(s);
	if (!wrong)
		wrong = wrong_options(s);
	if (!wrong)
		wrong = wrong_window(s);
	if (!wrong)
		return 0;
	return fault(f, -EINVAL, "TCP connection %s, saved as %s (%u): %s; the saved state is "
		     "damaged, save again", tcprepair_name(&s->local, &s->peer, text),
		     tcprepair_state_name(s->state), s->state, wrong);
}
