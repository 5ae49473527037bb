/* SPDX-License-Identifier: MIT */
/*
 * kept.c - fdinfo files that are open from the preflight to the freeze.
 *
 * What an fdinfo costs is its opening; sockets may do without (owed.c). Each read at its beginning
 * makes the text anew for whatever the number refers to by then: what the preflight opened tells
 * the truth of the frozen task too.
 *
 * Rights:   none.
 * Holds:    the open files.
 */
#include "workers/files/kept.h"

#include <sys/resource.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/files.h"

#define KEPT_MAX 12000		/* all tasks: the worker's table need not grow, see worker.c */
#define OTHERS 256		/* descriptors that the worker has for other things */

struct kept {
	pid_t pid;
	size_t n;
	struct kept *next;
	int fd[];
};

/* How many descriptors this worker may have. */
static size_t limit(void)
{
	struct rlimit lim;

	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? 0 : lim.rlim_cur;
}

static struct kept *find(const struct files *fs, pid_t pid)
{
	struct kept *k = fs->kept;

	while (k && k->pid != pid)
		k = k->next;
	return k;
}

static size_t all_kept(const struct files *fs)
{
	const struct kept *k;
	size_t n = 0;

	for (k = fs->kept; k; k = k->next)
		n += k->n;
	return n;
}

int *kept_of(struct files *fs, pid_t pid, size_t n, size_t *room)
{
	struct kept *k = find(fs, pid);

	*room = k ? k->n : 0;
	if (all_kept(fs) - *room + n + OTHERS <= limit())
		return k ? k->fd : NULL;
	kept_end(fs);
	*room = 0;
	return NULL;
}

int *kept_new(struct files *fs, pid_t pid, size_t n, size_t *room)
{
	const size_t most = limit() / 2 < KEPT_MAX ? limit() / 2 : KEPT_MAX, all = all_kept(fs);
	struct kept *k = find(fs, pid);
	size_t i;

	*room = k ? k->n : 0;
	if (k)
		return k->fd;
	if (all + n > most)
		n = all < most ? most - all : 0;
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
