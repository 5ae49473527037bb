/* SPDX-License-Identifier: MIT */
/*
 * tty.h - terminals: ptys, virtual terminals, serial lines.
 */
#ifndef STASIS_FILES_TTY_H
#define STASIS_FILES_TTY_H

#include "workers/files/type.h"

extern const struct file_type tty_type;

#endif
