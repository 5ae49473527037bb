/* SPDX-License-Identifier: MIT */
/*
 * pages.h - dump: write pagemap-*.img and pages-N.img.
 */
#ifndef STASIS_MEM_PAGES_H
#define STASIS_MEM_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control/fault.h"
#include "proto/images/types.h"

/* A run of pages to store. */
struct run {
	uint64_t start, end;		/* addresses, or offsets in a shared object */
	uint32_t flags;			/* enum page_flags */
	bool pin;			/* process_vm_readv may be used (dump.c) */
};

struct runs {
	struct run *run;
	size_t n, cap;
};

/* Append a run; it is joined with the last one where that is possible. */
void runs_add(struct runs *r, struct run one);
uint64_t runs_bytes(const struct runs *r);

/* A place in the sequence of all runs. */
struct cursor {
	size_t run;
	uint64_t done;			/* bytes of that run */
};

/*
 * What is left of the current run, at most max bytes; the cursor moves behind it.
 * Returns false at the end.
 */
bool runs_next(const struct runs *r, struct cursor *at, uint64_t max, struct run *piece);

/*
 * Where contents come from: fill as much of buf as there are pages from the cursor on, at most
 * len bytes. Returns how many, or -1 with f set.
 */
struct page_source {
	long (*fill)(void *ctx, const struct runs *runs, struct cursor *at, char *buf, size_t len,
		     struct fault *f);
	void *ctx;
};

/* The pages images of one dump: numbered, and counted for the statistics. */
struct page_writer {
	int image_dir;
	bool alone; /* nobody else writes pages meanwhile: use a second thread */
	uint32_t last_id;		/* of pages-N.img */
	uint64_t scanned, written;	/* private pages */
	uint64_t shared_scanned, shared_written;
	uint64_t memdump_us, memwrite_us;
};

/* Write one pagemap image (IMG_PAGEMAP or IMG_SHMEM_PAGEMAP, number id) and its pages. */
int pages_write(struct page_writer *w, enum img_type type, uint64_t id, const struct runs *runs,
		const struct page_source *src, struct fault *f);

#endif
