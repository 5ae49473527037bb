/* SPDX-License-Identifier: MIT */
/*
 * regular.h - what is opened by a path: files, directories, memory devices.
 */
#ifndef STASIS_FILES_REGULAR_H
#define STASIS_FILES_REGULAR_H

#include "workers/files/type.h"

extern const struct file_type regular_type;

/*
 * Write the reg file entry of any open file that has a path, under x->id. What has lost its
 * path gets a remap (ghost.c).
 */
int regular_dump(struct files *fs, const struct facts *x, struct fault *f);

/*
 * Restore: open the path of a reg file entry with other flags than its own, no position.
 * The caller owns the descriptor.
 */
int regular_open(struct files *fs, struct file *file, int flags, struct fault *f);

/* The reg file with that id; who (a noun, "the working directory of task 1") goes to the fault. */
struct file *regular_find(struct files *fs, uint32_t id, const char *who, struct fault *f);

/* Flags of an entry that may be given to open(2). */
int regular_open_flags(const RegFileEntry *r);

#endif
