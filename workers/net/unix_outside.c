/* SPDX-License-Identifier: MIT */
/*
 * unix_outside.c - dump: peers of unix sockets that no task of the tree holds.
 *
 * Rights:   /proc of all tasks.
 * Holds:    the sockets of other processes, once they were looked for; what plugins have taken.
 */
#include "workers/net/unix_outside.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"
#include "workers/net/kind.h"
#include "workers/net/net.h"
#include "workers/net/sock.h"
#include "workers/net/unix_diag.h"

struct outsiders {
	uint32_t *elsewhere;		/* sockets of processes outside the tree, sorted */
	size_t nelsewhere, elsewhere_cap;
	bool looked;
	uint32_t *taken;		/* by plugins: inodes */
	size_t ntaken, taken_cap;
};

static struct outsiders *outsiders_of(struct net *net)
{
	if (!net->outsiders)
		net->outsiders = xcalloc(1, sizeof(*net->outsiders));
	return net->outsiders;
}

static bool is_external(const struct net *net, uint32_t ino)
{
	const Options *o = net_opts(net);
	char key[32];
	size_t i;

	snprintf(key, sizeof(key), "unix[%u]", ino);
	for (i = 0; i < o->n_external; i++)
		if (strcmp(o->external[i], key) == 0)
			return true;
	return false;
}

bool outsider_is_taken(const struct net *net, uint32_t ino)
{
	const struct outsiders *o = net->outsiders;
	size_t i = 0;

	while (o && i < o->ntaken && o->taken[i] != ino)
		i++;
	return o && i < o->ntaken;
}

void outsiders_take(struct net *net, const uint32_t *ino, size_t n)
{
	struct outsiders *o = n ? outsiders_of(net) : NULL;
	size_t i;

	for (i = 0; i < n; i++)
		*(uint32_t *)grow(&o->taken, o->ntaken++, &o->taken_cap, sizeof(*ino)) = ino[i];
}

int outsider_allow(const struct net *net, const struct sock *s, const struct unix_rec *r,
		   const struct unix_rec *peer, struct fault *f)
{
	char who[SOCK_NAME_MAX];
	bool named;

	if (is_external(net, r->ino) || is_external(net, r->peer))
		return 0;
	if (outsider_is_taken(net, r->ino))
		return 0;
	named = peer && peer->type == SOCK_DGRAM && peer->name_len;
	if (net_opts(net)->ext_unix_sk && named)
		return 0;
	return fault(f, -ENOTSUP, "%s: its peer, socket %u, is held by no task of the tree: dump "
		     "the tree that holds it, or give --external unix[%u]%s",
		     sock_name(s, who, sizeof(who)), r->peer, r->ino,
		     named ? ", or --ext-unix-sk" : "");
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void note_sockets_of(struct outsiders *o, const char *pid)
{
	char path[64], link[64];
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
		if (n < 0 || strncmp(link, "socket:[", 8) != 0)
			continue;
		link[n] = '\0';
		*(uint32_t *)grow(&o->elsewhere, o->nelsewhere++, &o->elsewhere_cap,
				  sizeof(uint32_t)) = strtoul(link + 8, NULL, 10);
	}
}

static bool is_of_tree(const struct net *net, pid_t pid)
{
	size_t i = 0;

	while (i < sock_count(net) && sock_at(net, i)->pid != pid)
		i++;
	return i < sock_count(net);
}

/* All of /proc is read, but only for a doubt, and once. */
bool outsider_is_held(struct net *net, uint32_t ino)
{
	struct outsiders *o = outsiders_of(net);
	AUTO_CLOSEDIR DIR *dir = NULL;
	struct dirent *e;

	if (!o->looked) {
		o->looked = true;
		dir = opendir("/proc");
		while (dir && (e = readdir(dir)))
			if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
			    !is_of_tree(net, atoi(e->d_name)))
				note_sockets_of(o, e->d_name);
		if (o->nelsewhere)
			qsort(o->elsewhere, o->nelsewhere, sizeof(uint32_t), by_number);
	}
	return o->nelsewhere && bsearch(&ino, o->elsewhere, o->nelsewhere, sizeof(ino), by_number);
}

void outsiders_end(struct net *net)
{
	struct outsiders *o = net->outsiders;

	if (!o)
		return;
	free(o->elsewhere);
	free(o->taken);
	free(o);
	net->outsiders = NULL;
}
