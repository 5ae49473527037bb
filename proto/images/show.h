/* SPDX-License-Identifier: MIT */
/*
 * show.h - print image files for people (text) or programs (JSON).
 */
#ifndef STASIS_IMAGE_SHOW_H
#define STASIS_IMAGE_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include "proto/control/fault.h"

/*
 * Print one image. Its kind is told by its name, else by its magic. JSON has the shape
 * of "crit decode": {"magic": "CORE", "entries": [...]}, raw data as base64 in "extra".
 * On damage, what could be read is printed (JSON stays well formed) and -1 returned.
 */
int show_file(const char *path, bool json, FILE *out, struct fault *f);

/*
 * Print all images of a directory in order of their names; JSON is one object with a
 * member per file. Files that are no images are skipped. Damaged ones do not stop it:
 * -1 at the end, with f telling the first.
 */
int show_dir(const char *path, bool json, FILE *out, struct fault *f);

#endif
