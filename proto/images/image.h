/* SPDX-License-Identifier: MIT */
/*
 * image.h - read and write the files of a dump, in the format of CRIU.
 *
 *	file    = magics { entry }
 *	magics  = common (or service) magic, magic of the type
 *	          inventory: its own magic only; raw types: none
 *	entry   = u32 length, protobuf message, [ raw data ]
 *
 * Numbers are little endian. Raw data has no frame: its length is in the entry
 * before it. An image is untrusted input: image_read checks lengths, nesting,
 * required fields and enum values, and says what is wrong with which entry.
 */
#ifndef STASIS_IMAGE_H
#define STASIS_IMAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/images/types.h"

struct image;

/*
 * Open for reading and check the magics. Small files are read whole at once. NULL with
 * f set on failure; an absent file gives f->code ENOENT. *_optional returns NULL and
 * leaves f alone when the file is absent: test f->code.
 */
struct image *image_open(int dirfd, enum img_type type, uint64_t id, struct fault *f);
struct image *image_open_optional(int dirfd, enum img_type type, uint64_t id, struct fault *f);

/* As image_open, but by path and with the type found from name and magic (type receives it). */
struct image *image_open_path(const char *path, enum img_type *type, struct fault *f);

/* Create or truncate; writes are buffered until image_fd or image_close. */
struct image *image_create(int dirfd, enum img_type type, uint64_t id, struct fault *f);

/*
 * Open for appending, creating the file when absent. Several processes may do so at
 * once: the magics appear exactly once, and one write(2) puts a number of whole entries at the end,
 * so entries never mix; the last ones are written by image_close. An entry with raw data must be
 * given whole: image_write_with_data.
 */
struct image *image_append(int dirfd, enum img_type type, uint64_t id, struct fault *f);

/* Add an entry. The message need not be the type's own (queued messages, chunks). */
int image_write(struct image *img, const ProtobufCMessage *msg, struct fault *f);
int image_write_with_data(struct image *img, const ProtobufCMessage *msg, const void *data,
			  size_t len, struct fault *f);

/*
 * Read the next entry: 1 with *msg set (free with AUTO_MSG or
 * protobuf_c_message_free_unpacked), 0 at the end, -1 on damage. image_read_as is for
 * entries whose message is not the type's own. image_read_one is for an entry that must
 * be there: 0 or -1.
 */
int image_read(struct image *img, ProtobufCMessage **msg, struct fault *f);
int image_read_as(struct image *img, const ProtobufCMessageDescriptor *desc,
		  ProtobufCMessage **msg, struct fault *f);
int image_read_one(struct image *img, ProtobufCMessage **msg, struct fault *f);

/* Raw data between entries. Reading or skipping past the end is a fault. */
int image_write_data(struct image *img, const void *data, size_t len, struct fault *f);
int image_read_data(struct image *img, void *data, size_t len, struct fault *f);
int image_skip_data(struct image *img, uint64_t len, struct fault *f);

/* Bytes not read yet. */
uint64_t image_left(const struct image *img);

/*
 * The descriptor, flushed and positioned at the logical offset, for splice, sendfile or
 * pread. Whoever moves the position while reading tells by image_skip_data; while
 * writing nothing need be told. -1 with f set when the flush fails. The image owns it.
 */
int image_fd(struct image *img, struct fault *f);

/* Logical offset of the next byte read or written. */
uint64_t image_offset(const struct image *img);

/* The file's name, for fault texts. */
const char *image_label(const struct image *img);

/*
 * Flush, close, free, and set *img to NULL. A write that fails here (disk full) is a
 * fault: every writer must call it and look. AUTO_IMAGE closes without asking and is
 * for readers and for error paths. NULL is fine.
 */
int image_close(struct image **img, struct fault *f);

void auto_image(struct image **img);
void auto_msg(void *msg_ptr);

/* Both start at NULL. AUTO_MSG goes before a pointer to any message. */
#define AUTO_IMAGE __attribute__((cleanup(auto_image)))
#define AUTO_MSG __attribute__((cleanup(auto_msg)))

#endif
