/* SPDX-License-Identifier: MIT */
/*
 * ahead.h - look at many descriptors of a task, in several threads.
 */
#ifndef STASIS_FILES_AHEAD_H
#define STASIS_FILES_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct ahead;

/* A descriptor: NULL or -1 where it could not be had (ask again to learn why). */
struct look {
	char *info;		/* AHEAD_FILES: text of its fdinfo */
	/* AHEAD_FILES, owing: it was not read; st and flags (F_GETFL) are told by a duplicate */
	bool socket;
	int flags;
	bool unix_socket;
	char *link;		/* AHEAD_LINKS: text of /proc/PID/fd/N */
	/*
	 * AHEAD_FILES: our duplicate, but of a unix socket; take it (and leave -1) or it is closed.
	 */
	int dup;
	bool seen;		/* st is valid */
	struct stat st;
};

/*
 * LINKS: the task may run. It touches nothing but /proc, except that of sockets in a row a
 * duplicate is held for a moment.
 */
enum ahead_kind { AHEAD_LINKS, AHEAD_FILES };

/* Where a task's descriptors are looked at. */
struct ahead_place {
	int pidfd;
	int fd_dir;		/* /proc/PID/fd */
	int info_dir;		/* /proc/PID/fdinfo */
	int sock_mnt;		/* the mount of sockets, -1: not known */
	dev_t sock_dev;		/* their device, 0: not known */
	bool owing;		/* sockets need no fdinfo: owed_can tells */
	int *kept;		/* by number: open fdinfo. LINKS opens it, FILES closes it */
	size_t nkept;
};

/*
 * Begin to look at each descriptor. place's descriptors and fds stay the caller's and must
 * outlive it. NULL when that would not pay: few descriptors, one CPU, or no thread to be had.
 */
struct ahead *ahead_begin(const struct ahead_place *place, enum ahead_kind kind, const int *fds,
			  size_t n);

/*
 * What was seen at fds[i]; ask in order, from one thread. As long as that is still to come, the
 * caller looks at others. NULL when a is NULL. Valid until ahead_end.
 */
struct look *ahead_look(struct ahead *a, size_t i);

/* Waits for the threads. NULL is fine. */
void ahead_end(struct ahead *a);

#endif
