/* SPDX-License-Identifier: MIT */
/*
 * gpu_files.h - look into the images of a dump, change them.
 */
#ifndef STASIS_TEST_GPU_FILES_H
#define STASIS_TEST_GPU_FILES_H

#include <sys/stat.h>

#include "proto/images/image.h"
#include "tests/unit/gpu_world.h"

/* A whole file. *bytes is the caller's. */
static inline size_t read_all(int dir, const char *name, unsigned char **bytes)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };

	if (!CHECK(fd >= 0 && fstat(fd, &st) == 0))
		return 0;
	*bytes = xcalloc(1, st.st_size + 1);
	return read_full(fd, *bytes, st.st_size);
}

static inline void write_all(int dir, const char *name, const void *bytes, size_t n)
{
	AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write_full(fd, bytes, n) == (ssize_t)n);
}

/* Read an image as a message, change it, write it back. */
static inline ProtobufCMessage *load(const struct scene *s, enum img_type type, uint32_t id)
{
	struct fault f = { 0 };
	AUTO_IMAGE struct image *img = image_open(s->dir, type, id, &f);
	ProtobufCMessage *msg = NULL;

	CHECK(img && image_read_one(img, &msg, &f) == 0);
	return msg;
}

static inline void store(const struct scene *s, enum img_type type, uint32_t id,
			 ProtobufCMessage *msg)
{
	struct fault f = { 0 };
	struct image *img = image_create(s->dir, type, id, &f);

	CHECK(img && image_write(img, msg, &f) == 0 && image_close(&img, &f) == 0);
	protobuf_c_message_free_unpacked(msg, NULL);
}

/* Restore it in a world of its own: it is good, or says why not; nothing is left open. */
static inline int restore_once(struct scene *s)
{
	const struct fake_ways ways = { .no_contexts = true };
	struct fake *w = fake_new(one_gpu, 1, &ways);
	size_t open_before = fake_open_fds();
	int r;

	s->f = (struct fault){ 0 };
	r = scene_restore(s, w, NULL);
	CHECK(r == 0 || (s->f.code && *s->f.text));
	scene_close_restored(s);
	fake_free(w);
	CHECK(fake_open_fds() <= open_before);
	return r;
}

#endif
