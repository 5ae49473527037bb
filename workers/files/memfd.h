/* SPDX-License-Identifier: MIT */
/*
 * memfd.h - files of memory: what memfd_create makes, and shared anonymous memory that is open.
 */
#ifndef STASIS_FILES_MEMFD_H
#define STASIS_FILES_MEMFD_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

extern const struct file_type memfd_type;

/* Dump: the entry, under x->id, of a mapping (or executable) that m names. */
int memfd_dump_mapped(struct files *fs, const struct facts *x, const MappedFile *m,
		      struct fault *f);

/* Dump: close memfd.img; whose contents are to be written. NULL: none. The caller's to free. */
int memfd_written(struct files *fs, FilesWritten **out, struct fault *f);

/* Restore: what the mem worker made, in the order of the list; the descriptors become ours. */
int memfd_take(struct files *fs, const FilesTakeMemory *req, int *fds, struct fault *f);

/* Restore: a descriptor of the file for mappings of that access mode. The caller owns it. */
int memfd_open_mapped(struct files *fs, struct file *file, int access, struct fault *f);

#endif
