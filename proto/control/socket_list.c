/* SPDX-License-Identifier: MIT */
/*
 * socket_list.c - thousands of sockets in one message: a list for each field, which protobuf packs
 * and unpacks without an allocation for each.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "proto/control/socket_list.h"

#include <errno.h>

#include "proto/control/util.h"

#define FEW 16			/* room at first; doubled when it is full */

static void make_room(SocketList *l)
{
	const size_t n = l->n_id, cap = n ? n * 2 : FEW;

	if (n && (n < FEW || n & (n - 1)))
		return;
	l->id = xrealloc(l->id, cap, sizeof(*l->id));
	l->pid = xrealloc(l->pid, cap, sizeof(*l->pid));
	l->fd = xrealloc(l->fd, cap, sizeof(*l->fd));
	l->flags = xrealloc(l->flags, cap, sizeof(*l->flags));
	l->ino = xrealloc(l->ino, cap, sizeof(*l->ino));
}

void socket_list_add(SocketList **list, const struct socket_ref *s)
{
	SocketList *l = *list;

	if (!l) {
		l = *list = xcalloc(1, sizeof(*l));
		socket_list__init(l);
	}
	make_room(l);
	l->id[l->n_id++] = s->id;
	l->pid[l->n_pid++] = s->pid;
	l->fd[l->n_fd++] = s->fd;
	l->flags[l->n_flags++] = s->flags;
	l->ino[l->n_ino++] = s->ino;
}

size_t socket_list_count(const SocketList *list)
{
	return list ? list->n_id : 0;
}

struct socket_ref socket_list_at(const SocketList *l, size_t i)
{
	return (struct socket_ref){ l->id[i], l->pid[i], l->fd[i], l->flags[i], l->ino[i] };
}

int socket_list_check(const SocketList *l, struct fault *f)
{
	if (!l || (l->n_pid == l->n_id && l->n_fd == l->n_id && l->n_flags == l->n_id &&
		   l->n_ino == l->n_id))
		return 0;
	return fault(f, -EPROTO, "a list of sockets has not all fields of each");
}
