/* SPDX-License-Identifier: MIT */
/*
 * unix_name.h - names of unix sockets: where they are in the file system, both directions.
 */
#ifndef STASIS_NET_UNIX_NAME_H
#define STASIS_NET_UNIX_NAME_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/images/sockets.pb-c.h"
#include "workers/net/kind.h"

#define UNIX_NAME_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

/* Is it a path? Else it is abstract, or empty. */
static inline bool unix_name_is_path(const UnixSkEntry *e)
{
	return e->name.len && e->name.data[0];
}

/* A path as a string; the image may or may not count its NUL. */
void unix_name_text(const UnixSkEntry *e, char path[UNIX_NAME_MAX + 1]);

/* Do two sockets have the same name, seen from the same place? */
bool unix_name_same(const UnixSkEntry *a, const UnixSkEntry *b);

/* Dump: e->name is set; fill in what belongs to a path. Release with unix_name_free. */
int unix_name_read(const struct sock *s, UnixSkEntry *e, struct fault *f);
void unix_name_free(UnixSkEntry *e);

/*
 * Restore: the places where names are bound, for up to max sockets. The calling thread gets a root
 * and working directory of its own.
 */
struct unix_places;
struct unix_places *unix_places_open(size_t max, struct fault *f);
void unix_places_close(struct unix_places *p);
/* A keeper decides whether the names stay that were bound: as keeper_hand_over. */
int unix_places_hand_over(struct unix_places *p);

/*
 * Give a socket its name. hidden: nothing appears in the file system, as if it had been removed at
 * once (deleted names always are).
 */
int unix_name_bind(struct unix_places *p, int fd, const UnixSkEntry *e, bool hidden,
		   struct fault *f);

/*
 * The address to reach a socket that unix_name_bind named, and its length. *via is an open file
 * that a path address leads through (the caller's), or -1: put its number in by unix_name_via.
 */
int unix_name_address(int fd, const UnixSkEntry *e, struct sockaddr_un *addr, socklen_t *len,
		      int *via, struct fault *f);
socklen_t unix_name_via(struct sockaddr_un *addr, int via);

/* The name as it stands, seen from the root: for peers that are not ours. Returns its length. */
socklen_t unix_name_plain(const uint8_t *name, size_t len, struct sockaddr_un *addr);

#endif
