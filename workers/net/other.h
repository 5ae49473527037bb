/* SPDX-License-Identifier: MIT */
/*
 * other.h - sockets that cannot be dumped, each by its name.
 */
#ifndef STASIS_NET_OTHER_H
#define STASIS_NET_OTHER_H

#include "workers/net/kind.h"

/* The row of a socket that no other kind is for: its refuse says what to do. */
const struct sock_kind *other_kind(const struct sock *s);

#endif
