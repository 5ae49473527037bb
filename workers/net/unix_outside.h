/* SPDX-License-Identifier: MIT */
/*
 * unix_outside.h - dump: peers of unix sockets that no task of the tree holds.
 */
#ifndef STASIS_NET_UNIX_OUTSIDE_H
#define STASIS_NET_UNIX_OUTSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"

struct net;
struct sock;
struct unix_rec;

/*
 * Before the freeze: does a process outside the tree hold that socket? One that none holds waits in
 * a queue, perhaps of the tree, which is seen when the tree stands.
 */
bool outsider_is_held(struct net *net, uint32_t ino);

/*
 * May the peer of a socket stay outside? As CRIU: when it is named by --external, or can be found
 * again. s is described by r, and its peer by peer, NULL when the kernel lists none. -1 with f set:
 * no.
 */
int outsider_allow(const struct net *net, const struct sock *s, const struct unix_rec *r,
		   const struct unix_rec *peer, struct fault *f);

/* Of these, by inode, a plugin has taken care: their peers may be anywhere. */
void outsiders_take(struct net *net, const uint32_t *ino, size_t n);
bool outsider_is_taken(const struct net *net, uint32_t ino);

void outsiders_end(struct net *net);

#endif
