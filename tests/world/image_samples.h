/* SPDX-License-Identifier: MIT */
/*
 * image_samples.h - an image of every type in a scratch directory.
 */
#ifndef STASIS_IMAGE_SAMPLES_H
#define STASIS_IMAGE_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/images/image.h"

#define SAMPLE_ID 26			/* of images whose name has a number */
#define SAMPLE_DATA 14

/* Raw data behind entries begins with these bytes: some text, as long as the longest. */
extern const char sample_data[SAMPLE_DATA];

/* The scratch directory, made by the first who asks. */
int sample_dir_fd(void);
/* Where the image of this type is. */
void sample_path(enum img_type type, char *path, size_t size);
/* Empty the scratch directory. Returns how many files it held. */
int sample_clean(void);
/* Remove it. */
void sample_end(void);
/* Is an image of this type made of entries behind a magic? */
bool sample_has_frame(enum img_type type);
/*
 * How many entries a sample has; the index-th (free as if it was unpacked), and the length of its
 * raw data.
 */
int sample_entries(enum img_type type);
ProtobufCMessage *sample_entry(enum img_type type, int index, size_t *bytes);
/* From now on without what CRIU's crit cannot write. */
void sample_for_crit(void);
/* Write an image of this type; false: it could not be. */
bool sample_write(enum img_type type);

#endif
