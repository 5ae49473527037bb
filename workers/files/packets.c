/* SPDX-License-Identifier: MIT */
/*
 * packets.c - the borders of packets in pipes: what was written with O_DIRECT is read as one
 * packet.
 *
 * A packet is a buffer of the pipe with a mark, which tee(2) copies. Which buffers there are shows
 * in a pipe with room for only one: splice moves exactly one into it. Whether that has the mark
 * shows when it lies twice in a row in another pipe: a read of one byte more than it has stops at a
 * mark. All this is done to a copy; the task's pipe is never read.
 *
 * CRIU refuses such pipes. The borders are in files.img, in an entry of a type that CRIU does not
 * know, so that it does not take the contents for a stream. Their bytes are in pipes-data.img as
 * usual.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/packets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/pipe.h"

#define PACKET_MAX 4096u		/* the kernel cuts larger ones */

struct ends {
	int out, in;
};

static void close_ends(struct ends *e)
{
	auto_close(&e->out);
	auto_close(&e->in);
}

#define AUTO_ENDS __attribute__((cleanup(close_ends)))

static int make_ends(struct ends *e, int room, struct fault *f)
{
	int fd[2];

	*e = (struct ends){ -1, -1 };
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return fault(f, errno, "make a pipe");
	*e = (struct ends){ fd[0], fd[1] };
	if (fcntl(e->in, F_SETPIPE_SZ, room) < 0)
		return fault(f, errno, "make a pipe of %d bytes", room);
	return 0;
}

/* tee to our own: how many bytes, 0 when there are none. */
static ssize_t copy(int fd, int to, size_t n, struct fault *f)
{
	ssize_t r = tee(fd, to, n, SPLICE_F_NONBLOCK);

	if (r < 0 && errno != EAGAIN)
		return fault(f, errno, "copy the contents");
	return r < 0 ? 0 : r;
}

void packets_free(struct pipe_copy *c)
{
	free(c->bytes);
	free(c->piece);
	*c = (struct pipe_copy){ 0 };
}

/* ---- dump ---- */

/* Neighbours that are no packets are one piece. */
static void add_piece(struct pipe_copy *c, size_t *cap, uint32_t len, bool packet)
{
	uint32_t *last = c->npieces ? &c->piece[c->npieces - 1] : NULL;

	c->n += len;
	if (last && !packet && !(*last & 1))
		*last += len * 2;
	else
		*(uint32_t *)grow(&c->piece, c->npieces++, cap, sizeof(*c->piece)) =
			len * 2 + packet;
}

/* Is the only buffer in `one`, of n bytes, a packet? 1, 0, -1. */
static int is_packet(const struct ends *one, const struct ends *two, unsigned char *buf, size_t n,
		     struct fault *f)
{
	ssize_t got;

	if (copy(one->out, two->in, n, f) != (ssize_t)n ||
	    copy(one->out, two->in, n, f) != (ssize_t)n)
		return f->code ? -1 : fault(f, EIO, "copy one buffer of the pipe");
	got = read(two->out, buf, n + 1);
	if (got != (ssize_t)n && got != (ssize_t)n + 1)
		return fault(f, EIO, "find out whether the pipe has packets");
	if (read(two->out, buf, n) <= 0)
		return n == 1 && got == 2 ? 0 : fault(f, EIO, "empty the copy of a buffer");
	return got == (ssize_t)n;
}

/* Take the copy apart buffer by buffer. */
static int walk(struct ends *all, size_t total, struct pipe_copy *out, struct fault *f)
{
	AUTO_FREE unsigned char *buf = xcalloc(total + 1, 1);
	AUTO_ENDS struct ends one = { -1, -1 }, two = { -1, -1 };
	size_t cap = 0;
	ssize_t n;
	int packet;

	if (make_ends(&one, STASIS_PAGE, f) < 0 || make_ends(&two, 2 * STASIS_PAGE, f) < 0)
		return -1;
	while (out->n < total) {
		n = splice(all->out, NULL, one.in, NULL, total, SPLICE_F_NONBLOCK);
		if (n <= 0)
			return fault(f, n < 0 ? errno : EIO, "take one buffer of the copy");
		packet = is_packet(&one, &two, buf, n, f);
		if (packet < 0)
			return -1;
		if (read(one.out, out->bytes + out->n, n) != n)
			return fault(f, EIO, "read one buffer of the copy");
		add_piece(out, &cap, n, packet);
	}
	return 0;
}

/*
 * The usual case is a stream: behind the copy one byte of it once more, and one read gets all of
 * it. Where that stops earlier, or the extra byte had no room, the long way is gone.
 */
int packets_copy(int fd, int room, struct pipe_copy *out, struct fault *f)
{
	AUTO_ENDS struct ends all = { -1, -1 };
	ssize_t n, extra;
	int inside = 0;

	*out = (struct pipe_copy){ 0 };
	if (ioctl(fd, FIONREAD, &inside) == 0 && !inside)
		return 0;
	if (make_ends(&all, room, f) < 0)
		return -1;
	n = copy(fd, all.in, room, f);
	extra = n > 0 ? copy(fd, all.in, 1, f) : 0;
	if (n <= 0 || extra < 0)
		return n < 0 || extra < 0 ? -1 : 0;
	out->bytes = xcalloc(n + 1, 1);
	if (extra && read(all.out, out->bytes, n + 1) == n + 1) {
		out->n = n;
		return 0;
	}
	close_ends(&all);
	if (make_ends(&all, room, f) < 0)
		return -1;
	if (copy(fd, all.in, room, f) != n)
		return f->code ? -1 : fault(f, EBUSY, "the contents change while they are copied");
	if (walk(&all, n, out, f) < 0)
		return -1;
	if (out->npieces == 1 && !(out->piece[0] & 1))
		out->npieces = 0;
	return 0;
}

int packets_write_entry(struct files *fs, uint32_t pipe_id, bool fifo, const struct pipe_copy *c,
			struct fault *f)
{
	PipePacketsEntry p = PIPE_PACKETS_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;

	p.id = files_new_id(fs);
	p.pipe_id = pipe_id;
	p.has_fifo = true;
	p.fifo = fifo;
	p.piece = c->piece;
	p.n_piece = c->npieces;
	e.type = FD_TYPES__PIPE_PACKETS;
	e.id = p.id;
	e.packets = &p;
	return files_write_entry(fs, &e, f);
}

/* ---- restore ---- */

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const PipePacketsEntry *p = file->entry->packets;
	uint64_t sum = 0;
	size_t i;

	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete list of packets",
			     file->id);
	for (i = 0; i < p->n_piece; i++) {
		sum += p->piece[i] / 2;
		if (p->piece[i] < 2 || ((p->piece[i] & 1) && p->piece[i] / 2 > PACKET_MAX))
			return fault(f, -EBADMSG, "files.img: pipe %u: packet %zu has %u bytes",
				     p->pipe_id, i, p->piece[i] / 2);
	}
	return pipe_set_packets(fs, p, sum, f);
}

/* A descriptor that says it is one of these lies. */
static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	(void)fs;
	return fault(f, -EBADMSG, "files.img: file %u is a list of packets and has descriptors",
		     file->id);
}

/*
 * Bytes that are no packet, before one. What write(2) puts there the next packet would be appended
 * to and lose its mark; what tee(2) puts there nothing is.
 */
static bool put_closed(int fd, const unsigned char *bytes, ssize_t len, struct fault *f)
{
	AUTO_ENDS struct ends tmp = { -1, -1 };

	return make_ends(&tmp, fcntl(fd, F_GETPIPE_SZ), f) == 0 &&
	       write(tmp.in, bytes, len) == len && tee(tmp.out, fd, len, SPLICE_F_NONBLOCK) == len;
}

int packets_refill(int fd, const unsigned char *bytes, const PipePacketsEntry *e, struct fault *f)
{
	int flags = fcntl(fd, F_GETFL);
	bool packet, done = true;
	ssize_t len;
	size_t i;

	for (i = 0; i < e->n_piece && done; i++) {
		packet = e->piece[i] & 1;
		len = e->piece[i] / 2;
		done = fcntl(fd, F_SETFL, (flags & ~O_DIRECT) | (packet ? O_DIRECT : 0)) == 0;
		if (done && !packet && i + 1 < e->n_piece)
			done = put_closed(fd, bytes, len, f);
		else if (done)
			done = write(fd, bytes, len) == len;
		bytes += len;
	}
	if (!done || fcntl(fd, F_SETFL, flags) < 0)
		return f->code ? -1 : fault(f, errno, "pipe %u: put back its %zu packets",
					    e->pipe_id, e->n_piece);
	return 0;
}

const struct file_type pipe_packets_type = {
	.name = "list of packets",
	.type = FD_TYPES__PIPE_PACKETS,
	.check = check,
	.create = create,
};
