/* SPDX-License-Identifier: MIT */
/*
 * tty_state.h - what a terminal has besides its data: modes, sizes, locks.
 */
#ifndef STASIS_FILES_TTY_STATE_H
#define STASIS_FILES_TTY_STATE_H

#include <stdbool.h>

#include "proto/control/fault.h"
#include "proto/images/files.pb-c.h"

/*
 * Dump: fill termios, termios_locked, winsize and exclusive, of a master also locked and
 * packet_mode. 1, or 0 when the terminal has hung up (they stay empty), or -1. The caller frees the
 * parts with tty_state_free.
 */
int tty_state_read(int fd, bool master, TtyInfoEntry *e, struct fault *f);
void tty_state_free(TtyInfoEntry *e);

/* Are all the parts there and whole? */
bool tty_state_complete(const TtyInfoEntry *e);
/* Is none of them there: had it hung up? */
bool tty_state_absent(const TtyInfoEntry *e);

/* Restore: set what tty_state_read read, but for the modes. */
int tty_state_apply(int fd, const TtyInfoEntry *e, struct fault *f);
/* Exclusive, locked, packet mode: once everybody has opened it. */
int tty_modes_apply(int fd, const TtyInfoEntry *e, bool master, struct fault *f);

#endif
