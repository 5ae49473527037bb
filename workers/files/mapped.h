/* SPDX-License-Identifier: MIT */
/*
 * mapped.h - files that are mapped, and executables.
 */
#ifndef STASIS_FILES_MAPPED_H
#define STASIS_FILES_MAPPED_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* Dump: write the reg file entries, under the ids the mem worker chose. */
int mapped_dump(struct files *fs, MappedFile *const *m, size_t n, struct fault *f);

/* Restore: open the files and place them in the tasks. */
int mapped_install(struct files *fs, MappedWant *const *w, size_t n, struct fault *f);

#endif
