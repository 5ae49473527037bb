/* SPDX-License-Identifier: MIT */
/*
 * unix_make.h - restore: what the kernel records with its doer (SO_PEERCRED) is done by the right
 * one.
 */
#ifndef STASIS_NET_UNIX_MAKE_H
#define STASIS_NET_UNIX_MAKE_H

#include <sys/socket.h>
#include <sys/un.h>

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

enum deed_kind {
	DEED_PAIR,			/* socketpair: both ends come to fd[] */
	DEED_LISTEN,			/* fd[0], bound, listens */
	DEED_CONNECT,			/* a new socket, connected to addr, comes to fd[0] */
};

struct deed {
	enum deed_kind kind;
	const SkUcredEntry *who;	/* NULL: anybody */
	int type;
	int fd[2];
	int backlog;
	struct sockaddr_un addr;
	socklen_t addr_len;
	int via;			/* the file addr leads through (unix_name_address), or -1 */
};

/*
 * Do them, those of one task together. For a doer who is dead a passing process stands in; when his
 * pid is in use, this worker does it with his user and group.
 */
int unix_make(struct net *net, struct deed *d, size_t n, struct fault *f);

#endif
