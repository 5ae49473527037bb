/* SPDX-License-Identifier: MIT */
/*
 * tasks.h - restore: the tasks and the gates into them.
 */
#ifndef STASIS_NET_TASKS_H
#define STASIS_NET_TASKS_H

#include "proto/control/control.pb-c.h"
#include "workers/net/net.h"

/* The tasks of the tree. */
void tasks_learn(struct net *net, const NetPrepare *req);
/* Map the gates of new tasks. fd: of the gate memory, with the first ones; taken over. -1: none. */
int tasks_gates(struct net *net, const Gates *req, int fd, struct fault *f);
/* Numbers that may be used. */
int tasks_spare(struct net *net, const NetCreate *req, struct fault *f);
void tasks_end(struct net *net);

#endif
