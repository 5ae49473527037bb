/* SPDX-License-Identifier: MIT */
/*
 * options.h - socket options that all families have (SOL_SOCKET), both directions.
 */
#ifndef STASIS_NET_OPTIONS_H
#define STASIS_NET_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/images/sockets.pb-c.h"

/* Before the freeze: is there one that cannot be read? */
int sock_opts_preflight(int fd, struct fault *f);

/* What need not be asked. */
struct sock_hints {
	uint32_t sndbuf, rcvbuf;	/* 0: not known */
	bool no_reuseport;		/* the kernel lets no socket of the family have it */
	bool no_filter;
};

/* Read all of them; hints may be NULL. *e is initialised here; release with sock_opts_free. */
int sock_opts_read(int fd, const struct sock_hints *hints, SkOptsEntry *e, struct fault *f);
void sock_opts_free(SkOptsEntry *e);

/*
 * Set all of them. Before bind and connect where it matters to the caller: device, reuse, mark.
 * Entries that read false or 0 are set too when the fresh socket reads otherwise.
 */
int sock_opts_apply(int fd, const SkOptsEntry *e, struct fault *f);

#endif
