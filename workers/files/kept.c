/* SPDX-License-Identifier: MIT */
/*
 * kept.c - fdinfo files that are open from the preflight to the freeze.
 *
 * What an fdinfo costs is its opening; sockets do without (owed.c). Each read at its beginning makes
 * the text anew for whatever the number refers to by then: what the preflight opened tells the truth
 * of the frozen task too.
 *
 * Rights:   none.
 * Holds:    the open files.
 */
#include "workers/files/kept.h"

#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/files.h"

#define KEPT_MAX 12000		/* all tasks together: the worker's table need not grow, see worker.c */

struct kept {
	pid_t pid;
	size_t n;
	struct kept *next;
	int fd[];
};

int *kept_of(struct files *fs, pid_t pid, size_t *room)
{
	struct kept *k = fs->kept;

	while (k && k->pid != pid)
		k = k->next;
	*room = k ? k->n : 0;
	return k ? k->fd : NULL;
}

static size_t all_kept(const struct files *fs)
{
	const struct kept *k;
	size_t n = 0;

	for (k = fs->kept; k; k = k->next)
		n += k->n;
	return n;
}

int *kept_new(struct files *fs, pid_t pid, size_t n, size_t *room)
{
	const size_t left = KEPT_MAX - all_kept(fs);
	int *known = kept_of(fs, pid, room);
	struct kept *k;
	size_t i;

	if (known)
		return known;
	n = n < left ? n : left;
	if (!n)
		return NULL;
	k = xcalloc(1, sizeof(*k) + n * sizeof(int));
	k->pid = pid;
	*room = k->n = n;
	for (i = 0; i < n; i++)
		k->fd[i] = -1;
	k->next = fs->kept;
	fs->kept = k;
	return k->fd;
}

void kept_end(struct files *fs)
{
	struct kept *k;
	size_t i;

	while ((k = fs->kept)) {
		fs->kept = k->next;
		for (i = 0; i < k->n; i++)
			auto_close(&k->fd[i]);
		free(k);
	}
}
