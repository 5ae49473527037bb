/* SPDX-License-Identifier: MIT */
/*
 * fill.c - restore: put the contents of pages into a task.
 *
 * Small amounts:    process_vm_writev from the mapped pages image, up to 1024 runs a call.
 * Large anonymous:  UFFDIO_COPY: the kernel copies into a fresh page without zeroing it first
 *                   and without a fault (1.4 times as fast; two threads twice that).
 *
 * Rights:   CAP_SYS_PTRACE over the task.
 * Holds:    nothing.
 */
#include "workers/mem/fill.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "proto/control/util.h"
#include "workers/mem/vma.h"

#define UFFD_FROM (1ul << 20)		/* bytes of one mapping */
#define COPY_CHUNK (2ul << 20)
#define THREADS_FROM (32ul << 20)	/* bytes that make a second thread worth its start */
#define IOVS 1024			/* the kernel's limit */
#define CALL_MAX (64ul << 20)		/* bytes of one process_vm_writev */

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

bool fill_wants_uffd(const struct target *t, uint32_t vma)
{
	size_t i;

	if (t->stored_bytes[vma] < UFFD_FROM || !vma_is(t->vma[vma], VMA_ANON_PRIVATE) ||
	    (t->vma[vma]->flags & MAP_HUGETLB))
		return false;
	for (i = 0; i < t->nkept; i++)
		if (t->kept[i].vma == vma)
			return false;
	return true;
}

/* ---- process_vm_writev ---- */

struct gather {
	struct iovec local[IOVS], remote[IOVS];
	size_t n, bytes;
};

static int flush_writes(const struct target *t, struct gather *g, struct fault *f)
{
	ssize_t r;

	if (!g->n)
		return 0;
	r = process_vm_writev(t->pid, g->local, g->n, g->remote, g->n, 0);
	if (r < 0 || (size_t)r != g->bytes)
		return fault(f, r < 0 ? errno : EFAULT,
			     "task %d: write %zu bytes to its memory from %p on", t->pid, g->bytes,
			     g->remote[0].iov_base);
	g->n = g->bytes = 0;
	return 0;
}

static int write_run(const struct target *t, struct gather *g, const struct stored *run,
		     struct fault *f)
{
	uint64_t at, size;

	for (at = run->start; at < run->end; at += size) {
		size = run->end - at < CALL_MAX ? run->end - at : CALL_MAX;
		if ((g->n == IOVS || g->bytes + size > CALL_MAX) && flush_writes(t, g, f) < 0)
			return -1;
		g->local[g->n].iov_base = (char *)t->pages.data + run->offset + (at - run->start);
		g->remote[g->n].iov_base = (void *)at;
		g->local[g->n].iov_len = g->remote[g->n].iov_len = size;
		g->n++;
		g->bytes += size;
	}
	return 0;
}

/* ---- userfaultfd ---- */

/* Two threads take chunks in turn. */
struct copier {
	const struct target *t;
	const struct stored_list *chunks;
	size_t next;
	int uffd;
	int error;			/* errno of the first copy that failed */
};

static int copy_chunk(const struct copier *c, const struct stored *s)
{
	char *from = (char *)c->t->pages.data + s->offset;
	struct uffdio_copy a = { 0 };
	uint64_t done = 0, size = s->end - s->start;

	/* The copy of a page that is not mapped here takes a slow path. */
	madvise(from, size, MADV_POPULATE_READ);
	while (done < size) {
		a = (struct uffdio_copy){ .dst = s->start + done, .src = (uintptr_t)from + done,
					  .len = size - done, .mode = UFFDIO_COPY_MODE_DONTWAKE };
		if (ioctl(c->uffd, UFFDIO_COPY, &a) < 0 && errno != EAGAIN)
			return errno;
		if (a.copy > 0)		/* EAGAIN: a part of it, or the mappings changed */
			done += a.copy;
	}
	return 0;
}

static void *copy_some(void *arg)
{
	struct copier *c = arg;
	size_t i;
	int e;

	while ((i = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->chunks->n) {
		e = __atomic_load_n(&c->error, __ATOMIC_RELAXED);
		if (!e)
			e = copy_chunk(c, &c->chunks->run[i]);
		if (e) {
			__atomic_store_n(&c->error, e, __ATOMIC_RELAXED);
			break;
		}
	}
	return NULL;
}

static int copy_all(struct copier *c, uint64_t bytes, struct fault *f)
{
	bool second = bytes >= THREADS_FROM;
	pthread_t thread;

	if (second && pthread_create(&thread, NULL, copy_some, c))
		second = false;
	copy_some(c);
	if (second)
		pthread_join(thread, NULL);
	if (c->error)
		return fault(f, c->error, "task %d: copy %" PRIu64 " bytes into its memory",
			     c->t->pid, bytes);
	return 0;
}

static int register_vma(const struct target *t, int uffd, const VmaEntry *e, struct fault *f)
{
	struct uffdio_register r = { .range = { e->start, e->end - e->start },
				     .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (ioctl(uffd, UFFDIO_REGISTER, &r) < 0)
		return fault(f, errno,
			     "task %d: register %" PRIx64 "-%" PRIx64 " with a userfaultfd", t->pid,
			     e->start, e->end);
	return 0;
}

static int unregister_vma(const struct target *t, int uffd, const VmaEntry *e, struct fault *f)
{
	struct uffdio_range r = { e->start, e->end - e->start };

	if (ioctl(uffd, UFFDIO_UNREGISTER, &r) < 0)
		return fault(f, errno,
			     "task %d: unregister %" PRIx64 "-%" PRIx64 " from a userfaultfd",
			     t->pid, e->start, e->end);
	return 0;
}

static void add_chunks(struct stored_list *chunks, const struct stored *run)
{
	uint64_t at, end;
	struct stored *s;

	for (at = run->start; at < run->end; at = end) {
		end = (at + COPY_CHUNK) & -COPY_CHUNK;
		if (end > run->end)
			end = run->end;
		s = grow(&chunks->run, chunks->n++, &chunks->cap, sizeof(*s));
		*s = (struct stored){ at, end, run->offset + at - run->start, run->vma };
	}
}

/* Fill the marked mappings; nothing else may touch a mapping while it is registered. */
static int copy_marked(const struct target *t, const struct stored_list *what, const bool *marked,
		       int uffd, struct fault *f)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct stored_list chunks = { 0 };
	struct copier c = { .t = t, .chunks = &chunks, .uffd = uffd };
	uint64_t bytes = 0;
	size_t i;
	int r = 0;

	if (ioctl(uffd, UFFDIO_API, &api) < 0)
		return fault(f, errno, "task %d: open its userfaultfd", t->pid);
	for (i = 0; i < t->n && r == 0; i++)
		if (marked[i])
			r = register_vma(t, uffd, t->vma[i], f);
	for (i = 0; i < what->n && r == 0; i++) {
		if (!marked[what->run[i].vma])
			continue;
		add_chunks(&chunks, &what->run[i]);
		bytes += what->run[i].end - what->run[i].start;
	}
	if (r == 0)
		r = copy_all(&c, bytes, f);
	for (i = 0; i < t->n && r == 0; i++)
		if (marked[i])
			r = unregister_vma(t, uffd, t->vma[i], f);
	free(chunks.run);
	return r;
}

int fill_pages(const struct target *t, const struct stored_list *what, int uffd, struct fault *f)
{
	AUTO_FREE struct gather *g = NULL;
	AUTO_FREE bool *marked = NULL;
	bool any = false;
	size_t i;

	marked = xcalloc(t->n, sizeof(*marked));
	for (i = 0; i < t->n && uffd >= 0; i++) {
		marked[i] = fill_wants_uffd(t, i);
		any |= marked[i];
	}
	if (any && copy_marked(t, what, marked, uffd, f) < 0)
		return -1;
	g = xcalloc(1, sizeof(*g));
	for (i = 0; i < what->n; i++) {
		const VmaEntry *e = t->vma[what->run[i].vma];

		if (marked[what->run[i].vma] || vma_is(e, VMA_VDSO))
			continue;
		if (write_run(t, g, &what->run[i], f) < 0)
			return -1;
	}
	return flush_writes(t, g, f);
}
