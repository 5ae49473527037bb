/* SPDX-License-Identifier: MIT */
/*
 * sockets.c - mappings of sockets (rings of packet sockets): net maps them, here they have a place
 * and a name.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/mem/sockets.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "proto/control/socket_list.h"
#include "proto/control/util.h"
#include "workers/mem/vma.h"

void sockets_report(const struct space *s, MemCollected *out)
{
	size_t i;

	for (i = 0; i < s->n; i++) {
		if (!vma_is_socket(&s->vma[i].e))
			continue;
		out->socket = xrealloc(out->socket, out->n_socket + 1, sizeof(*out->socket));
		out->socket[out->n_socket++] = s->vma[i].e.shmid;
	}
}

static int name_one(const struct space *s, VmaEntry *e, const MemWrite *m, struct fault *f)
{
	size_t i;

	for (i = 0; i < socket_list_count(m->socket); i++)
		if (m->socket->ino[i] == e->shmid) {
			e->shmid = m->socket->id[i];
			return 0;
		}
	return fault(f, -ENOTSUP, "task %d: the socket mapped at %" PRIx64 " is open nowhere any "
		     "more, so that it cannot be looked at: let the program keep a descriptor of "
		     "it", s->pid, e->start);
}

int sockets_name(struct space *s, const MemWrite *m, struct fault *f)
{
	size_t i;

	if (socket_list_check(m->socket, f) < 0)
		return -1;
	for (i = 0; i < s->n; i++)
		if (vma_is_socket(&s->vma[i].e) && name_one(s, &s->vma[i].e, m, f) < 0)
			return -1;
	return 0;
}

void sockets_places(const struct target *t, MemPrepared *out)
{
	SocketMap *m;
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (!vma_is_socket(e))
			continue;
		m = xcalloc(1, sizeof(*m));
		socket_map__init(m);
		m->pid = t->pid;
		m->id = e->shmid;
		m->start = e->start;
		m->end = e->end;
		m->offset = e->pgoff;
		m->prot = e->prot;
		m->shared = e->flags & MAP_SHARED;
		out->socket_map = xrealloc(out->socket_map, out->n_socket_map + 1, sizeof(m));
		out->socket_map[out->n_socket_map++] = m;
	}
}
