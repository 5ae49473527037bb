/* SPDX-License-Identifier: MIT */
/*
 * socket_list.h - SocketList of control.proto, one socket at a time.
 */
#ifndef STASIS_CONTROL_SOCKET_LIST_H
#define STASIS_CONTROL_SOCKET_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

struct socket_ref {
	uint32_t id, pid, fd, flags;
	uint64_t ino;
};

/* Add one; *list is made when it is NULL. protobuf-c's functions free it. */
void socket_list_add(SocketList **list, const struct socket_ref *s);

/* How many there are; list may be NULL. */
size_t socket_list_count(const SocketList *list);
struct socket_ref socket_list_at(const SocketList *list, size_t i);

/* Of a message that came: are all its lists as long? -1 with f set. NULL is fine. */
int socket_list_check(const SocketList *list, struct fault *f);

#endif
