/* SPDX-License-Identifier: MIT */
/*
 * timeline.h - stasis timeline FILE: a trace as a picture.
 */
#ifndef STASIS_TIMELINE_H
#define STASIS_TIMELINE_H

#include <stdio.h>

#include "coordinator/trace_read.h"

/* Write the SVG. Whether all of it could be written is the caller's to see (fflush, ferror). */
void timeline_draw(const struct recording *rec, FILE *out);

/* The command: read the trace at path, write to the file out, or to standard output when NULL. */
int timeline(const char *path, const char *out, struct fault *f);

#endif
