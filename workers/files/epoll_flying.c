/* SPDX-License-Identifier: MIT */
/*
 * epoll_flying.c - restore: the watches of a poll set that waits in a socket. No task has it, so
 * none can add to it, and the numbers are not ours to use: a child of ours does, in its own table.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/epoll_flying.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

/* A duplicate, above `above`, of what the first table that has it has as number fd. -1: none. */
static int duplicate_of(struct files *fs, uint32_t fd, int above)
{
	struct restore *r = fs->restore;
	const struct file *file;
	size_t i, k;

	for (i = 0; i < r->ntasks; i++) {
		const struct table *t = r->task[i].table;

		for (k = 0; t && k < t->n; k++) {
			if (t->entry[k]->fd != fd)
				continue;
			file = files_find(fs, t->entry[k]->id);
			return file ? fcntl(file->fd, F_DUPFD_CLOEXEC, above) : -1;
		}
	}
	return -1;
}

/*
 * In a child, whose table is its own to fill. from: room for a number per watch. All files are
 * moved out of the way before any number is taken. Returns an errno value.
 */
static int watch_here(struct files *fs, const struct file *file, int *from)
{
	const EventpollFileEntry *e = file->entry->epfd;
	uint32_t above = file->fd;
	int set;
	size_t i;

	for (i = 0; i < e->n_tfd; i++)
		above = e->tfd[i]->tfd > above ? e->tfd[i]->tfd : above;
	set = fcntl(file->fd, F_DUPFD_CLOEXEC, above + 1);
	if (set < 0)
		return errno;
	for (i = 0; i < e->n_tfd; i++) {
		from[i] = duplicate_of(fs, e->tfd[i]->tfd, set + 1);
		if (from[i] < 0)
			return EBADF;
	}
	for (i = 0; i < e->n_tfd; i++) {
		struct epoll_event event = { .events = e->tfd[i]->events,
					     .data.u64 = e->tfd[i]->data };

		if (dup2(from[i], e->tfd[i]->tfd) < 0 ||
		    epoll_ctl(set, EPOLL_CTL_ADD, e->tfd[i]->tfd, &event) < 0)
			return errno;
	}
	return 0;
}

int epoll_fill_flying(struct files *fs, const struct file *file, struct fault *f)
{
	AUTO_FREE int *from = xcalloc(file->entry->epfd->n_tfd, sizeof(*from));
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(watch_here(fs, file, from));
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return fault(f, errno, "poll set %u: make a process to fill it", file->id);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return fault(f, WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD,
			     "poll set %u, in flight in a socket: add what it watches", file->id);
	return 0;
}
