/* SPDX-License-Identifier: MIT */
/*
 * pages.c - dump: write pagemap-*.img and pages-N.img.
 *
 * Contents pass through buffers of this process. A second thread writes while this one
 * reads, if there is enough to pay for it: 1 GiB takes as long as its write(2)s alone.
 *
 * Rights:   the image directory.
 * Holds:    the writing thread and its buffers while one image is written.
 */
#include "workers/mem/pages.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/memory.pb-c.h"
#include "workers/mem/vma.h"

#define CHUNK (512ul << 10)		/* measured: 128 KiB and 4 MiB are slower */
#define THREAD_FROM (8ul << 20)		/* bytes that make a second thread worth its start */
#define NBUFFERS 3

void runs_add(struct runs *r, struct run one)
{
	struct run *last = r->n ? &r->run[r->n - 1] : NULL;

	if (last && last->end == one.start && last->flags == one.flags &&
	    last->pin == one.pin) {
		last->end = one.end;
		return;
	}
	last = grow(&r->run, r->n, &r->cap, sizeof(*last));
	*last = one;
	r->n++;
}

uint64_t runs_bytes(const struct runs *r)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < r->n; i++)
		sum += r->run[i].end - r->run[i].start;
	return sum;
}

bool runs_next(const struct runs *r, struct cursor *at, uint64_t max, struct run *piece)
{
	if (at->run == r->n)
		return false;
	*piece = r->run[at->run];
	piece->start += at->done;
	if (piece->end - piece->start > max) {
		piece->end = piece->start + max;
		at->done += max;
	} else {
		at->run++;
		at->done = 0;
	}
	return true;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

struct chunk {
	char *buf;
	long len;			/* 0 ends the sequence */
};

/* The way from the reader to the writer: a ring of chunks. */
struct pump {
	struct chunk chunk[NBUFFERS];
	sem_t full, empty;
	int fd;
	int error;			/* errno of a write; the writer goes on emptying */
	uint64_t write_us;
};

static void write_chunk(struct pump *p, const struct chunk *c)
{
	uint64_t start = now_us();
	ssize_t r = write_full(p->fd, c->buf, c->len);

	if (r < 0)
		p->error = errno;
	p->write_us += now_us() - start;
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s) < 0)
		;
}

static void *writer(void *arg)
{
	struct pump *p = arg;
	unsigned i;

	for (i = 0;; i = (i + 1) % NBUFFERS) {
		wait_for(&p->full);
		if (!p->chunk[i].len)
			return NULL;
		if (!p->error)
			write_chunk(p, &p->chunk[i]);
		sem_post(&p->empty);
	}
}

/* Read everything; the writer is told of the end also after a fault. */
static int read_for_writer(struct pump *p, const struct runs *runs, const struct page_source *src,
			   struct fault *f)
{
	struct cursor at = { 0 };
	struct chunk *c;
	unsigned i;
	long len;

	for (i = 0;; i = (i + 1) % NBUFFERS) {
		wait_for(&p->empty);
		c = &p->chunk[i];
		len = __atomic_load_n(&p->error, __ATOMIC_RELAXED) ?
			      0 : src->fill(src->ctx, runs, &at, c->buf, CHUNK, f);
		c->len = len > 0 ? len : 0;
		sem_post(&p->full);
		if (len <= 0)
			return len;
	}
}

static int pump_threaded(struct pump *p, const struct runs *runs, const struct page_source *src,
			 struct fault *f)
{
	pthread_t thread;
	int r;

	sem_init(&p->full, 0, 0);
	sem_init(&p->empty, 0, NBUFFERS);
	r = pthread_create(&thread, NULL, writer, p);
	if (r)
		return fault(f, r, "start the thread that writes pages");
	r = read_for_writer(p, runs, src, f);
	pthread_join(thread, NULL);
	sem_destroy(&p->full);
	sem_destroy(&p->empty);
	return r;
}

static int pump_alone(struct pump *p, const struct runs *runs, const struct page_source *src,
		      struct fault *f)
{
	struct chunk *c = &p->chunk[0];
	struct cursor at = { 0 };

	do {
		c->len = src->fill(src->ctx, runs, &at, c->buf, CHUNK, f);
		if (c->len > 0)
			write_chunk(p, c);
	} while (c->len > 0 && !p->error);
	return c->len < 0 ? -1 : 0;
}

static int write_contents(struct page_writer *w, int fd, const struct runs *runs,
			  const struct page_source *src, struct fault *f)
{
	bool threaded = w->alone && runs_bytes(runs) > THREAD_FROM;
	size_t size = CHUNK * (threaded ? NBUFFERS : 1);
	struct pump p = { .fd = fd };
	uint64_t start = now_us();
	char *buf;
	int i, r;

	/* Not malloc: fresh pages for a chunk are needed once, not returned to the heap. */
	buf = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		die("out of memory (%zu bytes for pages)", size);
	for (i = 0; i < NBUFFERS; i++)
		p.chunk[i].buf = buf + (threaded ? i * CHUNK : 0);
	r = threaded ? pump_threaded(&p, runs, src, f) : pump_alone(&p, runs, src, f);
	munmap(buf, size);
	w->memdump_us += now_us() - start;
	w->memwrite_us += p.write_us;
	if (r == 0 && p.error)
		return fault(f, p.error, "write pages-%u.img", w->last_id);
	return r;
}

static int write_pagemap(struct image *img, uint32_t pages_id, const struct runs *runs,
			 struct fault *f)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	PagemapEntry e = PAGEMAP_ENTRY__INIT;
	size_t i;

	head.pages_id = pages_id;
	if (image_write(img, &head.base, f) < 0)
		return -1;
	e.has_flags = e.has_nr_pages = true;
	for (i = 0; i < runs->n; i++) {
		e.vaddr = runs->run[i].start;
		e.nr_pages = (runs->run[i].end - runs->run[i].start) / STASIS_PAGE;
		e.flags = runs->run[i].flags | PAGE_STORED;
		if (image_write(img, &e.base, f) < 0)
			return -1;
	}
	return 0;
}

int pages_write(struct page_writer *w, enum img_type type, uint64_t id, const struct runs *runs,
		const struct page_source *src, struct fault *f)
{
	AUTO_IMAGE struct image *map = NULL, *pages = NULL;
	int fd;

	map = image_create(w->image_dir, type, id, f);
	if (!map || write_pagemap(map, ++w->last_id, runs, f) < 0 || image_close(&map, f) < 0)
		return -1;
	pages = image_create(w->image_dir, IMG_PAGES, w->last_id, f);
	if (!pages)
		return -1;
	fd = image_fd(pages, f);
	if (fd < 0 || write_contents(w, fd, runs, src, f) < 0)
		return -1;
	return image_close(&pages, f);
}
