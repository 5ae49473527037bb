/* SPDX-License-Identifier: MIT */
/*
 * tty_ctty.h - controlling terminals: restore.
 */
#ifndef STASIS_FILES_TTY_CTTY_H
#define STASIS_FILES_TTY_CTTY_H

#include "workers/files/tty_terms.h"

/*
 * Give the session sid its terminal t, once, with pgrp in the foreground. Nothing when no file of t
 * is made yet.
 */
int ctty_set(struct files *fs, struct term *t, uint32_t sid, uint32_t pgrp, struct fault *f);

/*
 * Open /dev/tty (path), whose terminal t has hung up or whose session is no more. The caller owns
 * the descriptor. -1 without fault: it is not its turn yet.
 */
int ctty_open_lone(struct files *fs, const struct term *t, const char *path, int flags,
		   struct fault *f);

/* All tables are filled: sessions get their terminals, terminals their modes. */
int tty_installed(struct files *fs, struct fault *f);

#endif
