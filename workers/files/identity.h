/* SPDX-License-Identifier: MIT */
/*
 * identity.h - which descriptors share one open file description?
 */
#ifndef STASIS_FILES_IDENTITY_H
#define STASIS_FILES_IDENTITY_H

#include "workers/files/type.h"

/*
 * The id of the struct file behind descriptor x->fd of task x->pid (what probe_info tells is
 * enough): 1 when it was not seen before (a fresh id in x->id), 0 when it was (its id), -1.
 */
int identity_find(struct files *fs, struct facts *x, struct fault *f);

/* The type of the file with that id, as told when it was new. */
void identity_set_type(struct files *fs, uint32_t id, FdTypes type);
FdTypes identity_type(const struct files *fs, uint32_t id);

/*
 * The same for what is no descriptor (working directories): one id per inode and mount.
 * True when it was not seen before.
 */
bool identity_find_path(struct files *fs, struct facts *x);

void identity_free(struct files *fs);

#endif
