/* SPDX-License-Identifier: MIT */
/*
 * aio.c - contexts of asynchronous I/O, io_setup(2): their rings, both directions.
 *
 * A context is named by the address of its ring, which holds the events not fetched yet. Its pages
 * are among the task's pages. What else the kernel knows of it, the position where it puts the next
 * event, cannot be written: as many requests are completed (reads of nothing) as it takes.
 * Requests in flight cannot be seen. One that ends while the pages are read makes the dump fail;
 * one that is still pending after it is lost, as with CRIU.
 *
 * Rights:   CAP_SYS_PTRACE over the task; its gate.
 * Holds:    nothing.
 */
#include "workers/mem/aio.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/mem/vma.h"

#define MAGIC 0xa10a10a1u
#define CHUNK 64u			/* requests in one call */
#define BATCH_MS 30000

/* The kernel's struct aio_ring; events follow. */
struct head {
	uint32_t id, nr, head, tail, magic, compat, incompat, header_length;
};

static uint64_t events_in(uint64_t len)
{
	return (len - sizeof(struct head)) / sizeof(struct io_event);
}

/* ---- dump ---- */

static int read_head(pid_t pid, uint64_t at, struct head *h, struct fault *f)
{
	struct iovec local = { h, sizeof(*h) }, remote = { (void *)at, sizeof(*h) };

	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof(*h))
		return fault(f, errno, "task %d: read the ring of asynchronous I/O at %" PRIx64,
			     pid, at);
	return 0;
}

static int read_ring(const struct space *s, const VmaEntry *e, struct aio_rings *rings,
		     struct fault *f)
{
	AioRingEntry *ring = &rings->entry[rings->n];
	struct head h;

	if (read_head(s->pid, e->start, &h, f) < 0)
		return -1;
	if (h.magic != MAGIC || h.incompat || h.header_length != sizeof(h) || h.head >= h.nr ||
	    h.tail >= h.nr || h.nr != events_in(e->end - e->start))
		return fault(f, -ENOTSUP, "task %d: the ring of asynchronous I/O at %" PRIx64
			     " is damaged or not of the form known: destroy the context first",
			     s->pid, e->start);
	aio_ring_entry__init(ring);
	ring->id = e->start;
	ring->ring_len = e->end - e->start;
	/* The kernel doubles what is asked for and adds two, then fills whole pages: undo that. */
	ring->nr_req = (h.nr - 2) / 2;
	rings->list[rings->n] = ring;
	rings->tail[rings->n++] = h.tail;
	return 0;
}

int aio_read_rings(const struct space *s, struct aio_rings *rings, struct fault *f)
{
	size_t i, n = 0;

	for (i = 0; i < s->n; i++)
		n += vma_is_ring(&s->vma[i].e);
	*rings = (struct aio_rings){ 0 };
	rings->entry = xcalloc(n, sizeof(*rings->entry));
	rings->list = xcalloc(n, sizeof(*rings->list));
	rings->tail = xcalloc(n, sizeof(*rings->tail));
	for (i = 0; i < s->n; i++)
		if (vma_is_ring(&s->vma[i].e) && read_ring(s, &s->vma[i].e, rings, f) < 0)
			return -1;
	return 0;
}

int aio_unchanged(const struct space *s, const struct aio_rings *rings, struct fault *f)
{
	struct head h;
	size_t i;

	for (i = 0; i < rings->n; i++) {
		if (read_head(s->pid, rings->list[i]->id, &h, f) < 0)
			return -1;
		if (h.tail != rings->tail[i])
			return fault(f, -EAGAIN, "task %d: asynchronous I/O was going on while it "
				     "was dumped: try again when its requests are done", s->pid);
	}
	return 0;
}

void aio_free(struct aio_rings *rings)
{
	free(rings->entry);
	free(rings->list);
	free(rings->tail);
}

/* ---- restore ---- */

/* The head of a ring among the stored pages, NULL when it is not there. */
static const struct head *stored_head(const struct target *t, uint64_t at)
{
	size_t i;

	for (i = 0; i < t->stored.n; i++)
		if (t->stored.run[i].start == at)
			return (const void *)(t->pages.data + t->stored.run[i].offset);
	return NULL;
}

static int check_ring(const struct target *t, const AioRingEntry *ring, struct fault *f)
{
	const struct head *h = stored_head(t, ring->id);

	if (!h)
		return fault(f, -EBADMSG, "mm-%d.img: aio %" PRIx64 " has no pages", t->pid,
			     ring->id);
	if (h->nr != events_in(ring->ring_len) || h->head >= h->nr || h->tail >= h->nr)
		return fault(f, -EBADMSG, "mm-%d.img: aio %" PRIx64 ": its pages are no ring of "
			     "its size", t->pid, ring->id);
	return 0;
}

int aio_check(const struct target *t, struct fault *f)
{
	const MmEntry *mm = t->mm;
	size_t i, k = 0;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (!vma_is_ring(e))
			continue;
		if (k == mm->n_aios || mm->aios[k]->id != e->start ||
		    mm->aios[k]->ring_len != e->end - e->start)
			return fault(f, -EBADMSG, "mm-%d.img: mapping %" PRIx64 ": aios does not "
				     "have this ring, or not in order", t->pid, e->start);
		if (check_ring(t, mm->aios[k++], f) < 0)
			return -1;
	}
	if (k < mm->n_aios)
		return fault(f, -EBADMSG, "mm-%d.img: aio %" PRIx64 " has no mapping", t->pid,
			     mm->aios[k]->id);
	return 0;
}

/* What one context is made with, in the task's arena. */
struct making {
	const struct target *t;
	const AioRingEntry *ring;
	struct batch *b;
	uint64_t pointers, events;	/* places in the arena */
	int fd;				/* the task's: an empty file */
};

/* The context, moved to where it was, and a file to read nothing from. */
static int make_context(struct making *m, struct fault *f)
{
	uint64_t word = batch_alloc(m->b, sizeof(uint64_t), &(void *){ NULL });
	uint64_t name = batch_put_str(m->b, "stasis");
	const AioRingEntry *r = m->ring;
	int64_t ret;

	batch_op(m->b, 0, GATE_STOP_ON_ERROR, SYS_io_setup, 2, gc(r->nr_req), ga(word));
	batch_op(m->b, 0, GATE_STOP_ON_ERROR, SYS_mremap, 5, gl64(word), gc(r->ring_len),
		 gc(r->ring_len), gc(MREMAP_MAYMOVE | MREMAP_FIXED), gc(r->id));
	batch_op(m->b, 0, 0, SYS_memfd_create, 2, ga(name), gc(MFD_CLOEXEC));
	if (batch_run(m->b, BATCH_MS, f) < 0)
		return -1;
	ret = batch_result(m->b, 0, 0);
	if (ret < 0)
		return fault(f, -ret, "task %d: make its context of asynchronous I/O for %u "
			     "requests (fs.aio-max-nr limits them)", m->t->pid, r->nr_req);
	ret = batch_result(m->b, 0, 1);
	if (ret < 0)
		return fault(f, -ret, "task %d: place its ring of asynchronous I/O at %" PRIx64,
			     m->t->pid, r->id);
	m->fd = batch_result(m->b, 0, 2);
	if (m->fd < 0)
		return fault(f, -m->fd, "task %d: make a memory file", m->t->pid);
	return 0;
}

/* A request, as often as one call may submit it, and room for as many events. */
static void prepare_requests(struct making *m)
{
	struct iocb *cb;
	uint64_t at = batch_alloc(m->b, sizeof(*cb), (void **)&cb), *pointer;
	unsigned i;

	*cb = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = m->fd };
	m->pointers = batch_alloc(m->b, CHUNK * sizeof(*pointer), (void **)&pointer);
	for (i = 0; i < CHUNK; i++)
		pointer[i] = gate_arena_address(m->t->gate) + at;
	m->events = batch_alloc(m->b, CHUNK * sizeof(struct io_event), &(void *){ NULL });
}

/* Complete n requests; fetch their events or leave them in the ring. */
static int complete(struct making *m, uint32_t n, bool fetch, struct fault *f)
{
	uint32_t now;

	for (; n; n -= now) {
		now = n < CHUNK ? n : CHUNK;
		batch_op(m->b, 0, GATE_STOP_ON_ERROR, SYS_io_submit, 3, gc(m->ring->id), gc(now),
			 ga(m->pointers));
		if (fetch)
			batch_op(m->b, 0, GATE_STOP_ON_ERROR, SYS_io_getevents, 5, gc(m->ring->id),
				 gc(now), gc(now), ga(m->events), gc(0));
		if (batch_run(m->b, BATCH_MS, f) < 0)
			return -1;
		if (batch_result(m->b, 0, 0) != now || (fetch && batch_result(m->b, 0, 1) != now))
			return fault(f, -EIO, "task %d: the kernel does not bring the ring of "
				     "asynchronous I/O at %" PRIx64 " to its position", m->t->pid,
				     m->ring->id);
	}
	return 0;
}

static int close_file(struct making *m, struct fault *f)
{
	batch_op(m->b, 0, 0, SYS_close, 1, gc(m->fd));
	return batch_run(m->b, BATCH_MS, f);
}

/* Events fetched: up to the head; those left: from there to the tail. */
static int make_ring(const struct target *t, const AioRingEntry *ring, struct fault *f)
{
	const struct head *h = stored_head(t, ring->id);
	AUTO_BATCH struct batch *b = batch_begin(t->gate);
	struct making m = { .t = t, .ring = ring, .b = b };

	if (make_context(&m, f) < 0)
		return -1;
	prepare_requests(&m);
	if (complete(&m, h->head, true, f) < 0 ||
	    complete(&m, (h->tail + h->nr - h->head) % h->nr, false, f) < 0)
		return -1;
	return close_file(&m, f);
}

int aio_make(const struct target *t, uint32_t *ids, struct fault *f)
{
	struct head h;
	size_t i;

	for (i = 0; i < t->mm->n_aios; i++) {
		const AioRingEntry *ring = t->mm->aios[i];

		if (make_ring(t, ring, f) < 0 || read_head(t->pid, ring->id, &h, f) < 0)
			return -1;
		ids[i] = h.id;
		if (h.nr != events_in(ring->ring_len))
			return fault(f, -ENOTSUP, "task %d: this kernel makes a ring of %u events "
				     "where there were %" PRIu64 ": the machine has more "
				     "processors", t->pid, h.nr, events_in(ring->ring_len));
	}
	return 0;
}

int aio_number(const struct target *t, const uint32_t *ids, struct fault *f)
{
	size_t i;

	for (i = 0; i < t->mm->n_aios; i++) {
		struct iovec local = { (void *)&ids[i], sizeof(*ids) };
		struct iovec remote = { (void *)t->mm->aios[i]->id, sizeof(*ids) };

		if (process_vm_writev(t->pid, &local, 1, &remote, 1, 0) != sizeof(*ids))
			return fault(f, errno, "task %d: number its ring of asynchronous I/O",
				     t->pid);
	}
	return 0;
}
