/* SPDX-License-Identifier: MIT */
/*
 * numbers.h - options of internet sockets that are one int and have no field of CRIU's.
 */
#ifndef STASIS_NET_NUMBERS_H
#define STASIS_NET_NUMBERS_H

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

/* What a fresh socket of some family, type and protocol has. */
struct numbers;

/* Read those of a socket that are not as in a fresh one into e->number; inet_free frees them. */
int numbers_read(struct numbers **known, const struct sock *s, InetSkEntry *e, struct fault *f);
/* Are they options we know? */
int numbers_check(const InetSkEntry *e, struct fault *f);
int numbers_apply(int fd, const InetSkEntry *e, struct fault *f);
void numbers_end(struct numbers *known);

#endif
