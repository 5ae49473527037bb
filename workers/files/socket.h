/* SPDX-License-Identifier: MIT */
/*
 * socket.h - sockets, as far as the files worker knows them.
 */
#ifndef STASIS_FILES_SOCKET_H
#define STASIS_FILES_SOCKET_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* Before the freeze the family is not known: one row for all. */
extern const struct file_type socket_seen;
extern const struct file_type unix_socket_type, inet_socket_type, packet_socket_type,
			      netlink_socket_type;

/* One of the latter? */
bool socket_is(const struct file_type *t);

/* Dump: what was found since the last call, for a reply; the caller's. NULL: nothing. */
SocketList *socket_found(struct files *fs);

/* Restore: are there sockets in files.img? */
bool socket_due(const struct files *fs);

#endif
