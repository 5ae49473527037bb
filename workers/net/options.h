/* SPDX-License-Identifier: MIT */
/*
 * options.h - socket options that all families have (SOL_SOCKET), both directions.
 */
#ifndef STASIS_NET_OPTIONS_H
#define STASIS_NET_OPTIONS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "proto/control/fault.h"
#include "proto/images/sockets.pb-c.h"
#include "workers/net/asking.h"

#define SOCK_NUMBERS 15			/* options that are one int */

/* Before the freeze: is there one that cannot be read? */
int sock_opts_preflight(int fd, struct fault *f);

/* What need not be asked. */
struct sock_hints {
	uint32_t sndbuf, rcvbuf;	/* 0: not known */
	bool no_reuseport;		/* the kernel lets no socket of the family have it */
	bool no_filter;
};

/* The questions about one socket. Those of the caller, who may add some, come after ours. */
struct sock_questions {
	struct question list[ASKING_MAX];
	size_t n;
	int number[SOCK_NUMBERS];
	struct timeval send, receive;
	struct linger linger;
	char device[IFNAMSIZ + 1];
};

/* Prepare what is to be asked (ask_all); hints may be NULL. */
void sock_opts_ask(struct sock_questions *s, const struct sock_hints *hints);
/*
 * Take the answers, and read what depends on them. hints as before. *e is initialised here; release
 * with sock_opts_free.
 */
int sock_opts_take(const struct sock_questions *s, int fd, const struct sock_hints *hints,
		   SkOptsEntry *e, struct fault *f);

/* All of it for one socket alone. */
int sock_opts_read(int fd, SkOptsEntry *e, struct fault *f);
void sock_opts_free(SkOptsEntry *e);

/*
 * Set all of them. Before bind and connect where it matters to the caller: device, reuse, mark.
 * Entries that read false or 0 are set too when the fresh socket reads otherwise.
 */
int sock_opts_apply(int fd, const SkOptsEntry *e, struct fault *f);

#endif
