/* SPDX-License-Identifier: MIT */
/*
 * tty_preflight.h - which ptys have their master in the tree, while the tasks still run?
 */
#ifndef STASIS_FILES_TTY_PREFLIGHT_H
#define STASIS_FILES_TTY_PREFLIGHT_H

#include <stdbool.h>

struct facts;
struct files;
struct pty_masters;

/*
 * Is the master of this slave outside of the tree? *m is made when it is first asked for. False
 * when in doubt: the tasks run, and FilesCollect asks again.
 */
bool pty_is_alone(struct files *fs, struct pty_masters **m, const struct facts *x);
void pty_masters_free(struct pty_masters *m);

#endif
