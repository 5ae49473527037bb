/* SPDX-License-Identifier: MIT */
/*
 * tty_preflight.h - which ptys have their master in the tree, while the tasks still run?
 */
#ifndef STASIS_FILES_TTY_PREFLIGHT_H
#define STASIS_FILES_TTY_PREFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

struct files;
struct pty_masters;

/*
 * *m is made when it is first asked for. True when in doubt: the tasks run, and
 * FilesCollect asks again.
 */
bool pty_master_in_tree(struct files *fs, struct pty_masters **m, uint32_t index);
void pty_masters_free(struct pty_masters *m);

#endif
