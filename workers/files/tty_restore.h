/* SPDX-License-Identifier: MIT */
/*
 * tty_restore.h - terminals: restore, the functions of their row (tty.c).
 */
#ifndef STASIS_FILES_TTY_RESTORE_H
#define STASIS_FILES_TTY_RESTORE_H

#include "workers/files/type.h"

enum created tty_create(struct files *fs, struct file *file, struct fault *f);
const FownEntry *tty_fown(struct files *fs, const struct file *file);

#endif
