/* SPDX-License-Identifier: MIT */
/*
 * sockets.h - mappings of sockets: net maps them, here they have a place and a name.
 */
#ifndef STASIS_MEM_SOCKETS_H
#define STASIS_MEM_SOCKETS_H

#include "proto/control/control.pb-c.h"
#include "workers/mem/collect.h"
#include "workers/mem/target.h"

/* Dump: add the inodes of those a task has mapped. */
void sockets_report(const struct space *s, MemCollected *out);
/* Dump: the ids of files.img take the place of the inodes. */
int sockets_name(struct space *s, const MemWrite *m, struct fault *f);
/* Restore: where net shall map them. */
void sockets_places(const struct target *t, MemPrepared *out);

#endif
