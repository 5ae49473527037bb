/* SPDX-License-Identifier: MIT */
/*
 * pack.h - contents of a buffer as compressed blocks in a file, and back: bo_contents of
 * amdgpu.proto. Plain contents on their way to a file.
 */
#ifndef STASIS_AMDGPU_PACK_H
#define STASIS_AMDGPU_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/images/amdgpu.pb-c.h"

#define PACK_BLOCK (256u << 10)		/* bytes of a buffer */
#define PACK_START 8			/* in the file: behind its first 8 bytes, which are: */

/*
 * A plain file has the length of its contents there, a multiple of a page: to CRIU's plugin this
 * is the wrong one.
 */
#define PACK_MAGIC 0x0134ff5a4c535453ull

/* The index of a buffer of size bytes, to be filled by pack_put. The caller's. */
BoContents *pack_index(uint64_t size);
/* Can this be the index of a buffer of size bytes? */
int pack_check(const BoContents *c, uint64_t size, struct fault *f);
/* Where its last block ends in the file. Of one that was checked, or filled. */
uint64_t pack_end(const BoContents *c);

/* What a thread needs to work on one buffer after the other. NULL with f set. */
struct packer *packer_new(struct fault *f);
void packer_free(struct packer *p);

/* The next buffer; c NULL: plain. All stay the caller's, name is that of file in faults. */
void packer_begin(struct packer *p, int file, const char *name, BoContents *c, uint64_t size);
/*
 * The next n bytes of the buffer, into the file or from there. bytes may be a device's memory that
 * goes away: that is a fault (EFAULT).
 */
int pack_put(struct packer *p, const void *bytes, size_t n, struct fault *f);
int pack_get(struct packer *p, void *bytes, size_t n, struct fault *f);
/* n bytes of a plain buffer at `at` of the file, which has zeros there: none are written. */
int pack_plain(struct packer *p, const void *bytes, size_t n, uint64_t at, struct fault *f);

#endif
