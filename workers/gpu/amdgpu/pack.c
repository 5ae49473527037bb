/* SPDX-License-Identifier: MIT */
/*
 * pack.c - contents of a buffer as compressed blocks, both directions.
 *
 * Dump:     bytes are gathered to blocks of PACK_BLOCK, each compressed by itself (LZ4), written
 * as it is where that makes it no shorter, and left out where all is zero. Plain contents are
 * written as they are; what is zero becomes a hole of the file.
 * Restore:  the same blocks in the same order, for a reader that takes as many bytes as it likes.
 *
 * A block is gathered in memory that is also a file: the kernel copies between it and the device's
 * memory and tells by EFAULT what LZ4 would die of, which would also read the bus byte by byte.
 *
 * Rights:   none beyond the file.
 * Holds:    per packer two blocks of memory and a descriptor.
 */
#include "workers/gpu/amdgpu/pack.h"

#include <errno.h>
#include <lz4.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"

#define OFFSET_MAX (1ull << 62)		/* no sum with lengths is too large for it */

struct packer {
	int memory;			/* the block, as a file */
	uint8_t *block;			/* mapped */
	uint8_t *coded;			/* a block as LZ4 has it */
	int file;
	const char *name;
	BoContents *c;
	uint64_t size;
	uint64_t at;			/* in the file: the next block to be written or read */
	size_t next;			/* its number */
	size_t room;			/* dump: gathered; restore: left of the block before */
};

/* Bytes of a buffer of size bytes in block i. */
static size_t block_bytes(uint64_t size, size_t i)
{
	uint64_t left = size - (uint64_t)i * PACK_BLOCK;

	return left < PACK_BLOCK ? left : PACK_BLOCK;
}

static size_t block_count(uint64_t size)
{
	return (size + PACK_BLOCK - 1) / PACK_BLOCK;
}

BoContents *pack_index(uint64_t size)
{
	BoContents *c = xcalloc(1, sizeof(*c));

	bo_contents__init(c);
	c->method = BO_CONTENTS__CODING__LZ4;
	c->n_length = block_count(size);
	c->length = xcalloc(c->n_length + 1, sizeof(*c->length));
	return c;
}

int pack_check(const BoContents *c, uint64_t size, struct fault *f)
{
	size_t i;

	if (c->offset < PACK_START || c->offset > OFFSET_MAX)
		return fault(f, -EBADMSG, "contents: offset %#llx is not possible: the image is"
			     " damaged; dump again", (unsigned long long)c->offset);
	if (c->n_length != block_count(size))
		return fault(f, -EBADMSG, "contents: %zu blocks, but the buffer has %zu: the image"
			     " is damaged; dump again", c->n_length, block_count(size));
	for (i = 0; i < c->n_length; i++)
		if (c->length[i] > block_bytes(size, i))
			return fault(f, -EBADMSG, "contents: block %zu of %zu bytes has %u in the"
				     " file: the image is damaged; dump again", i,
				     block_bytes(size, i), c->length[i]);
	return 0;
}

uint64_t pack_end(const BoContents *c)
{
	uint64_t end = c->offset;
	size_t i;

	for (i = 0; i < c->n_length; i++)
		end += c->length[i];
	return end;
}

struct packer *packer_new(struct fault *f)
{
	struct packer *p = xcalloc(1, sizeof(*p));

	p->coded = xcalloc(1, PACK_BLOCK);
	p->block = MAP_FAILED;
	p->memory = memfd_create("block", MFD_CLOEXEC);
	if (p->memory >= 0 && ftruncate(p->memory, PACK_BLOCK) == 0)
		p->block = mmap(NULL, PACK_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, p->memory, 0);
	if (p->block != MAP_FAILED)
		return p;
	fault(f, errno, "make %u bytes of memory for contents on their way (raise the limits of "
	      "open files, ulimit -Hn, and of memory)", PACK_BLOCK);
	packer_free(p);
	return NULL;
}

void packer_free(struct packer *p)
{
	if (!p)
		return;
	if (p->block != MAP_FAILED)
		munmap(p->block, PACK_BLOCK);
	auto_close(&p->memory);
	free(p->coded);
	free(p);
}

void packer_begin(struct packer *p, int file, const char *name, BoContents *c, uint64_t size)
{
	p->file = file;
	p->name = name;
	p->c = c;
	p->size = size;
	p->at = c ? c->offset : 0;
	p->next = p->room = 0;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

/* Into the block, behind what is there already. */
static int gather(struct packer *p, const void *bytes, size_t n, struct fault *f)
{
	if (pwrite_full(p->memory, bytes, n, p->room) < (ssize_t)n)
		return fault(f, errno, "read its memory");
	p->room += n;
	return 0;
}

/* 1: all n bytes are zero, 0 or -1. All of them are gathered when the first page is. */
static int probe(struct packer *p, const char *bytes, size_t n, struct fault *f)
{
	size_t first = n < STASIS_PAGE ? n : STASIS_PAGE;

	p->room = 0;
	if (gather(p, bytes, first, f) < 0)
		return -1;
	if (!is_zero(p->block, first))
		return 0;
	if (gather(p, bytes + first, n - first, f) < 0)
		return -1;
	return is_zero(p->block, n);
}

int pack_plain(struct packer *p, const void *bytes, size_t n, uint64_t at, struct fault *f)
{
	const char *from = bytes;
	size_t part;
	int zero;

	for (; n; n -= part, from += part, at += part) {
		part = n < PACK_BLOCK ? n : PACK_BLOCK;
		zero = probe(p, from, part, f);
		if (zero < 0)
			return -1;
		if (!zero && pwrite_full(p->file, p->room == part ? (void *)p->block : from, part,
					 at) < (ssize_t)part)
			return fault(f, errno, "write image %s", p->name);
	}
	return 0;
}

/* The block is whole: write what becomes of it. */
static int write_block(struct packer *p, size_t n, struct fault *f)
{
	const uint8_t *from = p->coded;
	int length = 0;

	if (!is_zero(p->block, n)) {
		length = LZ4_compress_default((const char *)p->block, (char *)p->coded, n, n - 1);
		if (length <= 0) {		/* no room: not shorter */
			from = p->block;
			length = n;
		}
	}
	if (pwrite_full(p->file, from, length, p->at) < length)
		return fault(f, errno, "write image %s", p->name);
	p->c->length[p->next++] = length;
	p->at += length;
	return 0;
}

/* Bytes of the buffer in the block that is next. */
static size_t next_bytes(const struct packer *p)
{
	if (p->next == p->c->n_length)
		die("%s: more is copied than the buffer has", p->name);
	return block_bytes(p->size, p->next);
}

int pack_put(struct packer *p, const void *bytes, size_t n, struct fault *f)
{
	const char *from = bytes;
	size_t part, whole;

	for (; n; n -= part, from += part) {
		whole = next_bytes(p);
		part = n < whole - p->room ? n : whole - p->room;
		if (gather(p, from, part, f) < 0)
			return -1;
		if (p->room < whole)
			continue;
		p->room = 0;
		if (write_block(p, whole, f) < 0)
			return -1;
	}
	return 0;
}

static int read_file(struct packer *p, uint8_t *to, size_t n, struct fault *f)
{
	ssize_t r = pread_full(p->file, to, n, p->at);

	if (r < 0)
		return fault(f, errno, "read image %s", p->name);
	if ((size_t)r < n)
		return fault(f, -EBADMSG, "%s: it ends too early; dump again", p->name);
	return 0;
}

/* The next block, n bytes of the buffer. */
static int read_block(struct packer *p, size_t n, struct fault *f)
{
	size_t length = p->c->length[p->next];

	if (!length)
		memset(p->block, 0, n);
	else if (read_file(p, length < n ? p->coded : p->block, length, f) < 0)
		return -1;
	if (length && length < n &&
	    LZ4_decompress_safe((char *)p->coded, (char *)p->block, length, n) != (int)n)
		return fault(f, -EBADMSG,
			     "%s: the %zu bytes at %llu are not %zu compressed ones (block %zu): "
			     "the image is damaged; dump again",
			     p->name, length, (unsigned long long)p->at, n, p->next);
	p->at += length;
	p->next++;
	return 0;
}

int pack_get(struct packer *p, void *bytes, size_t n, struct fault *f)
{
	char *to = bytes;
	size_t part, whole;

	for (; n; n -= part, to += part) {
		if (!p->room) {
			p->room = next_bytes(p);
			if (read_block(p, p->room, f) < 0)
				return -1;
		}
		whole = block_bytes(p->size, p->next - 1);
		part = n < p->room ? n : p->room;
		if (pread_full(p->memory, to, part, whole - p->room) < (ssize_t)part)
			return fault(f, errno, "write to its memory");
		p->room -= part;
	}
	return 0;
}
