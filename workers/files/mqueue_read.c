/* SPDX-License-Identifier: MIT */
/*
 * mqueue_read.c - the messages of a POSIX queue.
 *
 * There is no way to look at a message but to receive it. All are received and sent again, in the
 * same order, which is their order. They lie in memory shared with a keeper: when we are killed it
 * goes on where we were. Where that is the queue itself tells: how many messages it has, and how
 * many bytes (its file's QSIZE), so a message that was just received or sent is not lost or
 * doubled. The tasks stand still; a task outside the tree that uses the queue at this very moment
 * may find it short of messages, or them in another order.
 *
 * Rights:   a descriptor of the queue for reading and writing.
 * Holds:    nothing.
 */
#include "workers/files/mqueue_read.h"

#include <errno.h>
#include <mqueue.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/control/util.h"
#include "workers/common/keeper.h"

/* At the start of the shared memory; arrays and texts follow. */
struct drain {
	int fd;
	bool sending;
	uint32_t total, taken;		/* messages at first; received and noted so far */
	uint64_t bytes;			/* in the queue at first */
	uint64_t room;
};

static uint32_t *prio_of(struct drain *d)
{
	return (uint32_t *)(d + 1);
}

static uint32_t *len_of(struct drain *d)
{
	return prio_of(d) + d->total;
}

static char *text_of(struct drain *d, uint32_t i)
{
	return (char *)(len_of(d) + d->total) + i * d->room;
}

/* QSIZE: bytes in the queue. -1 with errno. */
static long queue_bytes(int fd)
{
	char text[128];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0 || strncmp(text, "QSIZE:", 6))
		return -1;
	text[n] = '\0';
	return strtol(text + 6, NULL, 10);
}

static long queue_length(int fd)
{
	struct mq_attr a;

	return mq_getattr(fd, &a) < 0 ? -1 : a.mq_curmsgs;
}

/* Who did this before us may have received one message more than it could note. */
static void note_last(struct drain *d)
{
	uint64_t noted = 0;
	uint32_t i;

	if (d->taken == d->total || queue_length(d->fd) != (long)(d->total - d->taken - 1))
		return;
	for (i = 0; i < d->taken; i++)
		noted += len_of(d)[i];
	len_of(d)[d->taken] = d->bytes - noted - queue_bytes(d->fd);
	d->taken++;
}

/* Go on from wherever it is. 0, or -1 with errno. */
static int finish(struct drain *d)
{
	const struct timespec past = { 0 };
	ssize_t n;
	long i;

	if (!d->sending)
		note_last(d);
	while (!d->sending && d->taken < d->total) {
		n = mq_timedreceive(d->fd, text_of(d, d->taken), d->room, &prio_of(d)[d->taken],
				    &past);
		if (n < 0)
			return -1;
		len_of(d)[d->taken] = n;
		d->taken++;
	}
	d->sending = true;
	for (i = queue_length(d->fd); i >= 0 && i < (long)d->total; i++)
		if (mq_timedsend(d->fd, text_of(d, i), len_of(d)[i], prio_of(d)[i], &past) < 0)
			return -1;
	return i < 0 ? -1 : 0;
}

static void finish_for_dead(void *arg)
{
	finish(arg);
}

static int drain_and_fill(struct drain *d, struct fault *f)
{
	struct keeper keeper = KEEPER_NONE;

	if (keeper_start(&keeper, finish_for_dead, d, d->fd, f) < 0)
		return -1;
	if (finish(d) < 0) {
		fault(f, errno == ETIMEDOUT || errno == EAGAIN ? EBUSY : errno,
		      "read its messages (another program uses the queue)");
		keeper_undo(&keeper);
		return -1;
	}
	return keeper_dismiss(&keeper, f);
}

int mq_messages_read(int fd, struct mq_messages *out, struct fault *f)
{
	struct drain *d;
	struct mq_attr a;
	long bytes;
	size_t size;

	*out = (struct mq_messages){ 0 };
	bytes = queue_bytes(fd);
	if (mq_getattr(fd, &a) < 0 || bytes < 0)
		return fault(f, errno, "ask what is in the queue");
	if (!a.mq_curmsgs)
		return 0;
	size = sizeof(*d) + a.mq_curmsgs * (2 * sizeof(uint32_t) + a.mq_msgsize);
	d = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (d == MAP_FAILED)
		return fault(f, errno, "make room for %ld messages", a.mq_curmsgs);
	*d = (struct drain){ .fd = fd, .total = a.mq_curmsgs, .bytes = bytes,
			     .room = a.mq_msgsize };
	*out = (struct mq_messages){ .n = d->total, .room = d->room, .prio = prio_of(d),
				     .len = len_of(d), .text = text_of(d, 0), .memory = d,
				     .size = size };
	return drain_and_fill(d, f);
}

void mq_messages_free(struct mq_messages *m)
{
	if (m->memory)
		munmap(m->memory, m->size);
	*m = (struct mq_messages){ 0 };
}
