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

struct flights {
	int *fd;			/* dump: by flight; restore: by need, -1 until lent */
	uint32_t *id;
	size_t n, fd_cap, id_cap;
	size_t told;			/* dump: files knows those before */
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

	*(int *)grow(&s->fd, s->n, &s->fd_cap, sizeof(fd)) = fd;
	*(uint32_t *)grow(&s->id, s->n, &s->id_cap, sizeof(id)) = id;
	return s->n++;
}

size_t net_fly(struct net *net, int fd)
{
	return add(net, fd, 0);
}

uint32_t net_flown_id(const struct net *net, size_t flight)
{
	return net->flights->id[flight];
}

size_t flights_new(struct net *net, uint32_t **fds)
{
	struct flights *s = flights_of(net);
	size_t i, n = s->n - s->told;

	*fds = xcalloc(n, sizeof(**fds));
	for (i = 0; i < n; i++)
		(*fds)[i] = s->fd[s->told + i];
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
		s->id[i] = ids[i];
	return 0;
}

static size_t find(const struct flights *s, uint32_t id)
{
	size_t i = 0;

	while (s && i < s->n && s->id[i] != id)
		i++;
	return i;
}

void net_need_file(struct net *net, uint32_t id)
{
	if (!net_sock(net, id) && find(flights_of(net), id) == net->flights->n)
		add(net, -1, id);
}

int net_file(struct net *net, uint32_t id)
{
	struct sock *s = net_sock(net, id);
	size_t i;

	if (s)
		return s->fd;
	i = find(net->flights, id);
	return net->flights && i < net->flights->n ? net->flights->fd[i] : -1;
}

size_t flights_needed(const struct net *net, uint32_t **ids)
{
	*ids = net->flights ? net->flights->id : NULL;
	return net->flights ? net->flights->n : 0;
}

int flights_take(struct net *net, const MadeFiles *lent, struct fault *f)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, lent->pid, 0);
	struct flights *s = flights_of(net);
	size_t i, k;

	if (pidfd < 0)
		return fault(f, errno, "open the files worker (%u)", lent->pid);
	if (lent->n_id != lent->n_fd)
		return fault(f, -EPROTO, "%zu descriptors for %zu files", lent->n_fd, lent->n_id);
	for (i = 0; i < lent->n_id; i++) {
		k = find(s, lent->id[i]);
		if (k == s->n || s->fd[k] >= 0)
			return fault(f, -EPROTO, "file %u was not asked for", lent->id[i]);
		s->fd[k] = syscall(SYS_pidfd_getfd, pidfd, lent->fd[i], 0);
		if (s->fd[k] < 0)
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
		auto_close(&s->fd[i]);
	free(s->fd);
	free(s->id);
	free(s);
	net->flights = NULL;
}
