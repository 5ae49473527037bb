/* SPDX-License-Identifier: MIT */
/*
 * unix_kept.h - restore: the names that were bound in the file system stay only if it succeeds.
 */
#ifndef STASIS_NET_UNIX_KEPT_H
#define STASIS_NET_UNIX_KEPT_H

#include "proto/control/fault.h"
#include "proto/images/sockets.pb-c.h"

/* The two paths a socket can have: where it is bound, and e->moved_to. */
enum kept_path { KEPT_NAME, KEPT_MOVED };

struct unix_kept;

/*
 * For up to max names. A child of ours, in our root and working directory, takes back what is noted
 * here when we end before the hand over. The entries stay as they are now.
 */
struct unix_kept *unix_kept_open(size_t max, struct fault *f);
/* Everything is taken back, unless the decision was handed over. */
void unix_kept_close(struct unix_kept *k);
/* As keeper_hand_over. */
int unix_kept_hand_over(struct unix_kept *k);

/* What follows is about this socket; there is one at a time. */
int unix_kept_next(struct unix_kept *k, const UnixSkEntry *e, struct fault *f);
/*
 * A socket is about to appear at path, as seen from where the name is bound: another one there (the
 * dump left it behind) goes aside.
 */
void unix_kept_before(struct unix_kept *k, enum kept_path which, const char *path);
/* It was bound to path; or it was not. */
void unix_kept_bound(struct unix_kept *k, const char *path);
void unix_kept_unbound(struct unix_kept *k);

#endif
