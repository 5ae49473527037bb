/* SPDX-License-Identifier: MIT */
/*
 * flights.h - descriptors that wait in a socket's queue (SCM_RIGHTS), both directions.
 */
#ifndef STASIS_NET_FLIGHTS_H
#define STASIS_NET_FLIGHTS_H

#include "proto/control/control.pb-c.h"
#include "workers/net/net.h"

/* Dump: numbers here of what was named since the last call; the caller frees *fds. */
size_t flights_new(struct net *net, uint32_t **fds);
/* Dump: the ids of all, in the order they were named. */
int flights_name(struct net *net, const uint32_t *ids, size_t n, struct fault *f);

/* Restore: the ids of the files needed, for NetPrepared; the caller frees *ids. */
size_t flights_needed(const struct net *net, uint32_t **ids);
/* Restore: take duplicates of what files lends. */
int flights_take(struct net *net, const MadeFiles *lent, struct fault *f);

/* Close and forget all. */
void flights_end(struct net *net);

#endif
