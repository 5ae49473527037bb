/* SPDX-License-Identifier: MIT */
/*
 * asking.h - ask a socket for one option that is a number, or for many at once.
 */
#ifndef STASIS_NET_ASKING_H
#define STASIS_NET_ASKING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define ASKING_MAX 32			/* questions at once */

/* One option that is an int. 0, or -1 with errno; *value is 0 then. */
int ask_number(int fd, int level, int name, int *value);

/* getsockopt(fd, level, name, value, room); got is the bytes of the value, or -errno. */
struct question {
	int level, name;
	void *value;
	socklen_t room;
	int got;
};

struct asking;

/*
 * For thousands of sockets: by rings of io_uring where this kernel has them for that (Linux 6.7,
 * allowed), one for each thread that asks. The caller frees.
 */
struct asking *asking_new(void);
void asking_free(struct asking *a);

/* Are there rings, and nothing was wrong with one? Known after the first question. */
bool ask_by_rings(struct asking *a);

/* Ask up to ASKING_MAX questions. a NULL: one call for each. May be called by several threads. */
void ask_all(struct asking *a, int fd, struct question *q, size_t n);

#endif
