/* SPDX-License-Identifier: MIT */
/*
 * kind.c - the table of socket kinds, and the row that refuses the rest.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/net/kind.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "workers/net/netlink.h"
#include "workers/net/packet.h"
#include "workers/net/unix.h"
#include "workers/net/tcp.h"
#include "workers/net/udp.h"

static bool match_any(const struct sock *s)
{
	return s != NULL;
}

static const struct sock_kind unknown_kind = {
	.name = "socket of unknown kind",
	.match = match_any,
	.refuse = "this kind of socket is not known: close it before the dump",
};

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef AF_SMC
#define AF_SMC 43
#endif

static bool match_mptcp(const struct sock *s)
{
	return s->protocol == IPPROTO_MPTCP;
}

static bool match_sctp(const struct sock *s)
{
	return s->protocol == IPPROTO_SCTP;
}

static bool match_dccp(const struct sock *s)
{
	return s->protocol == IPPROTO_DCCP && s->type == SOCK_DCCP;
}

static bool match_smc(const struct sock *s)
{
	return s->family == AF_SMC;
}

static const struct sock_kind mptcp_kind = {
	.name = "MPTCP socket",
	.match = match_mptcp,
	.refuse = "the state of multipath TCP cannot be read: make the program use TCP (Go: "
		  "GODEBUG=multipathtcp=0), or close it before the dump",
};

static const struct sock_kind sctp_kind = {
	.name = "SCTP socket",
	.match = match_sctp,
	.refuse = "the state of SCTP cannot be read: close it before the dump",
};

static const struct sock_kind dccp_kind = {
	.name = "DCCP socket",
	.match = match_dccp,
	.refuse = "the state of DCCP cannot be read: close it before the dump",
};

static const struct sock_kind smc_kind = {
	.name = "SMC socket",
	.match = match_smc,
	.refuse = "the state of SMC cannot be read: make the program use TCP, or close it before the dump",
};

const struct sock_kind *const sock_kinds[] = {
	&unix_kind,
	&netlink_kind,
	&udp_kind,
	&tcp_kind,
	&mptcp_kind,
	&sctp_kind,
	&dccp_kind,
	&smc_kind,
	&packet_kind,
	&unknown_kind,
	NULL
};

const struct sock_kind *kind_of_known(struct net *net, struct sock *s)
{
	size_t i;

	for (i = 0; sock_kinds[i]; i++)
		if (sock_kinds[i]->knows && sock_kinds[i]->knows(net, s))
			return sock_kinds[i];
	return NULL;
}

const struct sock_kind *kind_of_socket(const struct sock *s)
{
	size_t i = 0;

	while (!sock_kinds[i]->match(s))
		i++;
	return sock_kinds[i];
}

const struct sock_kind *kind_of_entry(const FileEntry *e)
{
	size_t i;

	for (i = 0; sock_kinds[i]; i++) {
		const struct sock_kind *k = sock_kinds[i];

		if (k->type == e->type && !k->refuse && (!k->match_entry || k->match_entry(e)))
			return k;
	}
	return NULL;
}

const char *sock_name(const struct sock *s, char *buf, size_t size)
{
	if (s->entry)
		snprintf(buf, size, "%s %u of files.img", s->kind->name, s->id);
	else
		snprintf(buf, size, "task %d, descriptor %d (%s %lu)", s->pid, s->pfd, s->kind->name,
			 (unsigned long)s->ino);
	return buf;
}
