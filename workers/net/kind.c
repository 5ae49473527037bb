/* SPDX-License-Identifier: MIT */
/*
 * kind.c - the table of socket kinds, and the row that refuses the rest.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/net/kind.h"

#include <stdio.h>

#include "workers/net/netlink.h"
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

const struct sock_kind *const sock_kinds[] = {
	&unix_kind,
	&netlink_kind,
	&udp_kind,
	&tcp_kind,
	&unknown_kind,
	NULL
};

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
