/* SPDX-License-Identifier: MIT */
/*
 * buildid.h - the build id of an ELF file (--file-validation buildid).
 */
#ifndef STASIS_FILES_BUILDID_H
#define STASIS_FILES_BUILDID_H

#include <stddef.h>
#include <stdint.h>

/*
 * The id in words, the last one padded with zeroes; freed by the caller. 0 words when the file
 * cannot be read, is no ELF file or has no id.
 */
size_t build_id_read(int fd, uint32_t **words);

#endif
