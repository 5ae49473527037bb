/* SPDX-License-Identifier: MIT */
/*
 * flights.c - descriptors that wait in a socket's queue.
 *
 * Dump:     the kinds peek at their queues and receive duplicates; files gives each an id.
 * Restore:  the kinds name ids of files; files makes them and lets us duplicate its descriptors.
 *           Sockets are our own.
 * Rights:   ptrace access to the files worker (pidfd_getfd).
 * Holds:    the duplicates, until the end.
 */
#include "workers/net/flights.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/net/kind.h"

#define BUCKETS 4096

/* A descriptor. */
struct flight {
	int fd;				/* restore: -1 until lent */
	uint32_t id;
	size_t next;			/* restore: of the same bucket, plus 1; 0: none */
};

struct flights {
	struct flight *list;
	size_t n, cap;
	size_t told;			/* dump: files knows those before */
	size_t bucket[BUCKETS];		/* restore: by id, the last one plus 1; 0: none */
};

static struct flights *flights_of(struct net *net)
{
	if (!net->flights)
		net->flights = xcalloc(1, sizeof(*net->flights));
	return net->flights;
}

static size_t add(struct net *net, int fd, uint32_t id)
{
	struct flights *s = flights_of(net);

	*(struct flight *)grow(&s->list, s->n, &s->cap, sizeof(*s->list)) =
		(struct flight){ .fd = fd, .id = id };
	return s->n++;
}

size_t net_fly(struct net *net, int fd)
{
	return add(net, fd, 0);
}

uint32_t net_flown_id(const struct net *net, size_t flight)
{
	return net->flights->list[flight].id;
}

size_t flights_new(struct net *net, uint32_t **fds)
{
	struct flights *s = flights_of(net);
	size_t i, n = s->n - s->told;

	*fds = xcalloc(n, sizeof(**fds));
	for (i = 0; i < n; i++)
		(*fds)[i] = s->list[s->told + i].fd;
	s->told = s->n;
	return n;
}

int flights_name(struct net *net, const uint32_t *ids, size_t n, struct fault *f)
{
	struct flights *s = flights_of(net);
	size_t i;

	if (n != s->n)
		return fault(f, -EPROTO, "%zu ids for %zu descriptors in flight", n, s->n);
	for (i = 0; i < n; i++)
		s->list[i].id = ids[i];
	return 0;
}

static struct flight *find(const struct flights *s, uint32_t id)
{
	size_t at;

	for (at = s ? s->bucket[id % BUCKETS] : 0; at; at = s->list[at - 1].next)
		if (s->list[at - 1].id == id)
			return &s->list[at - 1];
	return NULL;
}

void net_need_file(struct net *net, uint32_t id)
{
	struct flights *s = flights_of(net);
	size_t at;

	if (net_sock(net, id) || find(s, id))
		return;
	at = add(net, -1, id);
	s->list[at].next = s->bucket[id % BUCKETS];
	s->bucket[id % BUCKETS] = at + 1;
}

int net_file(struct net *net, uint32_t id)
{
	const struct sock *s = net_sock(net, id);
	const struct flight *x = s ? NULL : find(net->flights, id);

	return s ? s->fd : x ? x->fd : -1;
}

size_t flights_needed(const struct net *net, uint32_t **ids)
{
	const struct flights *s = net->flights;
	size_t i, n = s ? s->n : 0;

	*ids = xcalloc(n, sizeof(**ids));
	for (i = 0; i < n; i++)
		(*ids)[i] = s->list[i].id;
	return n;
}

int flights_take(struct net *net, const MadeFiles *lent, struct fault *f)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, lent->pid, 0);
	struct flight *x;
	size_t i;

	if (pidfd < 0)
		return fault(f, errno, "open the files worker (%u)", lent->pid);
	if (lent->n_id != lent->n_fd)
		return fault(f, -EPROTO, "%zu descriptors for %zu files", lent->n_fd, lent->n_id);
	for (i = 0; i < lent->n_id; i++) {
		x = find(net->flights, lent->id[i]);
		if (!x || x->fd >= 0)
			return fault(f, -EPROTO, "file %u was not asked for", lent->id[i]);
		x->fd = syscall(SYS_pidfd_getfd, pidfd, lent->fd[i], 0);
		if (x->fd < 0)
			return fault(f, errno, "borrow file %u of the files worker", lent->id[i]);
	}
	return 0;
}

void flights_end(struct net *net)
{
	struct flights *s = net->flights;
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		auto_close(&s->list[i].fd);
	free(s->list);
	free(s);
	net->flights = NULL;
}
