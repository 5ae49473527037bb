/* SPDX-License-Identifier: MIT */
/*
 * watched.h - files that are watched by inode: fdinfo tells their handles, images also paths.
 */
#ifndef STASIS_FILES_WATCHED_H
#define STASIS_FILES_WATCHED_H

#include "workers/files/type.h"

/* An entry with room for a handle; free with watched_free. */
FhEntry *watched_new(void);
void watched_free(FhEntry *h);

/* "fhandle-bytes:8 fhandle-type:1 f_handle:b220a7..." into an entry. False: not of that form. */
bool watched_parse(const char *text, FhEntry *h);

/*
 * Dump: can the file be found again? Gives the entry its path where it has one. dev is in the
 * kernel's encoding; who begins a fault.
 */
int watched_dump(struct files *fs, const char *who, uint32_t dev, uint64_t ino, FhEntry *h,
		 struct fault *f);

/* Is the entry complete? who begins a fault. */
int watched_check(const char *who, const FhEntry *h, struct fault *f);

/* Restore: open it again (O_PATH), for /proc/self/fd. -1 with f set. */
int watched_open(struct files *fs, const char *who, uint32_t dev, uint64_t ino, const FhEntry *h,
		 struct fault *f);

/* The path of the mount with that id, for the caller to free, and its device. NULL: not seen. */
char *watched_mount(uint32_t id, uint32_t *dev);

/* The path of a mount of that device that can be opened, for the caller to free. NULL: none. */
char *watched_filesystem(uint32_t dev);

/* Dump, at the end: deleted files that are watched must be files that some descriptor keeps. */
int watched_dump_done(struct files *fs, struct fault *f);
void watched_end(struct files *fs);

#endif
