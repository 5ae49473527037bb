/* SPDX-License-Identifier: MIT */
/*
 * irmap.h - the path of a watched file when its handle does not tell it.
 */
#ifndef STASIS_FILES_IRMAP_H
#define STASIS_FILES_IRMAP_H

#include "workers/files/type.h"

/*
 * Dump: a path that leads to the inode (dev: the kernel's encoding), or NULL; with f set when
 * irmap-cache is damaged. The caller frees it.
 */
char *irmap_find(struct files *fs, uint32_t dev, uint64_t ino, struct fault *f);
void irmap_end(struct files *fs);

#endif
