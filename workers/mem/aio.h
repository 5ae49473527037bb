/* SPDX-License-Identifier: MIT */
/*
 * aio.h - contexts of asynchronous I/O, io_setup(2): their rings.
 */
#ifndef STASIS_MEM_AIO_H
#define STASIS_MEM_AIO_H

#include "proto/control/fault.h"
#include "workers/mem/collect.h"
#include "workers/mem/target.h"

/* Dump: the rings of an address space, as they were before its pages were read. */
struct aio_rings {
	AioRingEntry *entry, **list;
	uint32_t *tail;
	size_t n;
};

int aio_read_rings(const struct space *s, struct aio_rings *rings, struct fault *f);
/* The pages are read: a fault when a request was completed meanwhile. */
int aio_unchanged(const struct space *s, const struct aio_rings *rings, struct fault *f);
void aio_free(struct aio_rings *rings);

/* Restore: check the rings of a target, whose pages are assigned. */
int aio_check(const struct target *t, struct fault *f);
/*
 * Make the contexts, at their addresses, where placeholders lie; ids[i] receives the number the
 * kernel gave number i. When the pages are filled aio_number puts it back.
 */
int aio_make(const struct target *t, uint32_t *ids, struct fault *f);
int aio_number(const struct target *t, const uint32_t *ids, struct fault *f);

#endif
