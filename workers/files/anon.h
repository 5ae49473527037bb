/* SPDX-License-Identifier: MIT */
/*
 * anon.h - what the types of kernel services (event, timer, signal, ... descriptors) share.
 */
#ifndef STASIS_FILES_ANON_H
#define STASIS_FILES_ANON_H

#include <stdbool.h>

#include "workers/files/type.h"

/* Is its link "anon_inode:" and that name? */
bool anon_is(const struct facts *x, const char *name);

/* The text of fdinfo of our duplicate, for the caller to free. NULL with f set. */
char *anon_info(const struct facts *x, struct fault *f);

/* What stands behind "key:" at the start of a line, without blanks. NULL: no such line. */
const char *anon_field(const char *info, const char *key);

/* fdinfo lacks something: -1. */
int anon_unknown(const struct facts *x, const char *what, struct fault *f);

#endif
