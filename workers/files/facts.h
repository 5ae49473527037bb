/* SPDX-License-Identifier: MIT */
/*
 * facts.h - find out about the open files of a task from outside.
 */
#ifndef STASIS_FILES_FACTS_H
#define STASIS_FILES_FACTS_H

#include <limits.h>

#include "proto/control/control.pb-c.h"
#include "workers/files/ahead.h"
#include "workers/files/type.h"

/* Where the descriptors of one task are looked at; made once per task. */
struct probe {
	pid_t pid;
	int pidfd;
	int fd_dir;		/* /proc/PID/fd */
	int info_dir;		/* /proc/PID/fdinfo */
	struct facts x;		/* of the descriptor asked for last */
	FownEntry fown;
	char link[PATH_MAX + 16];
	char *info;		/* text of its fdinfo, NUL at the end */
	size_t info_cap;
	dev_t pipe_dev, sock_dev;	/* of pipes, of sockets; 0: not known yet */
	int sock_mnt;			/* the mount of sockets; 0: not known yet, -1: not told */
	struct look *look;	/* what a look ahead saw of it, or NULL */
};

/* Close with probe_close (AUTO_PROBE does). */
int probe_open(struct probe *p, pid_t pid, struct fault *f);
void probe_close(struct probe *p);

#define AUTO_PROBE __attribute__((cleanup(probe_close)))

/* How many descriptors the task has; 0 when this kernel does not tell (before Linux 6.2). */
size_t probe_count(const struct probe *p);

/* All descriptor numbers of the task, ascending; *fds is freed by the caller. */
int probe_list(struct probe *p, int **fds, size_t *n, struct fault *f);

/*
 * Does the text of an fdinfo show a unix socket? sock_mnt: what probe_sock_mnt tells. No other kind
 * of socket counts descriptors in flight (since Linux 5.10).
 */
bool info_shows_unix(const char *info, int sock_mnt);
int probe_sock_mnt(struct probe *p);
dev_t probe_sock_dev(struct probe *p);	/* their device, 0: not told */

/*
 * While the task runs: x.link, and for paths below /dev or deleted x.st and, unless they are
 * regular files or directories, x.flags. 1, or 0 when the descriptor is gone by now, or -1.
 * look: what was seen of it already (ahead.h) or NULL.
 */
int probe_glance(struct probe *p, int fd, const struct look *look, struct fault *f);

/*
 * The task stands still: what fdinfo tells (flags, pos, mnt_id, cloexec, the inode's number). look:
 * as above; used by probe_file too.
 */
int probe_info(struct probe *p, int fd, struct look *look, struct fault *f);
/* The rest of x but its id; x.dup lives until the next descriptor is asked for. */
int probe_file(struct probe *p, struct fault *f);

/*
 * Of a path below /proc/PID ("cwd", "exe", "map_files/..."): link, st and a duplicate that
 * is good for paths only (O_PATH).
 */
int probe_path(struct probe *p, enum facts_place place, const char *name, struct fault *f);

/* While tables are collected: the task of the tree that tid is a thread of, or NULL. */
const DumpTask *facts_task(const struct files *fs, pid_t tid);

/* Does text end with " (deleted)"? Then *len receives its length without. */
bool link_deleted(const char *text, size_t *len);

#endif
