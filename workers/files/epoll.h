/* SPDX-License-Identifier: MIT */
/*
 * epoll.h - the row of poll sets, and what it must know of all descriptors.
 */
#ifndef STASIS_FILES_EPOLL_H
#define STASIS_FILES_EPOLL_H

#include "workers/files/type.h"

extern const struct file_type epoll_type;

/* Dump: each descriptor of each table, in order, once it has its id. */
void epoll_note(struct files *fs, const struct facts *x);

#endif
