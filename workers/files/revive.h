/* SPDX-License-Identifier: MIT */
/*
 * revive.h - restore of open files whose name is gone.
 */
#ifndef STASIS_FILES_REVIVE_H
#define STASIS_FILES_REVIVE_H

#include "workers/files/type.h"

/* Read remap-fpath.img and the ghost images' heads; check them against files.img. */
int revive_prepare(struct files *fs, struct fault *f);

/* Has this reg file a remap? Is it a ghost (made here, so nothing to validate)? */
bool revive_has(struct files *fs, const struct file *file);
bool revive_is_ghost(struct files *fs, const struct file *file);

/*
 * A descriptor of it, made when first asked for, good for files_reopen; the worker keeps it. -1
 * with f set.
 */
int revive_anchor(struct files *fs, const struct file *file, struct fault *f);

/*
 * The same for the deleted file that had this inode (dev: the kernel's encoding) and was written to
 * the images. -1: there is none; -2 with f set.
 */
int revive_by_inode(struct files *fs, uint32_t dev, uint64_t ino, struct fault *f);

/*
 * After revive_anchor: the descriptor that made a file of O_TMPFILE, once, for the file that had
 * made it; the caller owns it. -1: open the anchor again.
 */
int revive_born(struct files *fs, const struct file *file);

/* Everything is opened: owner, mode and times of ghosts. */
int revive_finish(struct files *fs, struct fault *f);

/* Is any file revived? Then a keeper takes care of names: as keeper_hand_over. */
bool revive_any(const struct files *fs);
int revive_hand_over(struct files *fs);
void revive_end(struct files *fs);

#endif
