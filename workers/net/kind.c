/* SPDX-License-Identifier: MIT */
/*
 * kind.c - the table of socket kinds; other.c refuses the rest.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/net/kind.h"

#include <stdio.h>

#include "workers/net/netlink.h"
#include "workers/net/other.h"
#include "workers/net/packet.h"
#include "workers/net/raw.h"
#include "workers/net/tcp.h"
#include "workers/net/udp.h"
#include "workers/net/unix.h"

const struct sock_kind *const sock_kinds[] = {
	&unix_kind,
	&netlink_kind,
	&udp_kind,
	&tcp_kind,
	&raw_kind,
	&packet_kind,
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

	while (sock_kinds[i] && !sock_kinds[i]->match(s))
		i++;
	return sock_kinds[i] ? sock_kinds[i] : other_kind(s);
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
		snprintf(buf, size, "task %d, descriptor %d (%s %lu)", s->pid, s->pfd,
			 s->kind->name, (unsigned long)s->ino);
	return buf;
}
