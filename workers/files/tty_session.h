/* SPDX-License-Identifier: MIT */
/*
 * tty_session.h - whose controlling terminal is it?
 */
#ifndef STASIS_FILES_TTY_SESSION_H
#define STASIS_FILES_TTY_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"

struct files;

/*
 * Dump. Session and foreground group of a task's controlling terminal; *dev receives its
 * device number as TIOCGDEV gives it (0: it has none).
 */
int tty_session_of(pid_t pid, uint32_t *dev, uint32_t *sid, uint32_t *pgrp, struct fault *f);

/* Dump: is the task part of the tree? Asks /proc, so good before the freeze too. */
bool tty_in_tree(struct files *fs, uint32_t pid);

/*
 * Restore: make fd (ours, any open file of the terminal) the controlling terminal of the session
 * that task sid leads, with pgrp in the foreground.
 */
int tty_session_set(struct files *fs, uint32_t sid, uint32_t pgrp, int fd, struct fault *f);

/* Restore: open the controlling terminal in the task by a path; the result is ours. */
int tty_session_open(struct files *fs, uint32_t sid, const char *path, int flags, struct fault *f);

/*
 * Open /dev/tty (path) for the terminal fd, which no session has: one that lasts as long as the
 * call has it. The caller owns the descriptor.
 */
int tty_session_borrow(int fd, const char *path, int flags, struct fault *f);

#endif
