/* SPDX-License-Identifier: MIT */
/*
 * external.h - files the user answers for: --external and --inherit-fd.
 */
#ifndef STASIS_FILES_EXTERNAL_H
#define STASIS_FILES_EXTERNAL_H

#include "workers/files/type.h"

/* Dump: is the file named by --external file[MNT:INODE] (hexadecimal)? Writes the key. */
bool external_file(struct files *fs, const struct facts *x, char *key, size_t size);

/*
 * Restore: the descriptor given by --inherit-fd fd[N]:KEY, still the worker's; -1 when there is
 * none.
 */
int external_inherited(struct files *fs, const char *key);

#endif
