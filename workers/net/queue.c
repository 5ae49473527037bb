/* SPDX-License-Identifier: MIT */
/*
 * queue.c - what waits in a socket: data, message boundaries, senders, descriptors (sk-queues.img).
 * The dump; queue_restore.c sends it again.
 *
 * The queue is peeked at, message by message, by moving SO_PEEK_OFF; the guard puts it back if we
 * die. A message with descriptors is held until these have ids.
 *
 * Rights:   none.
 * Holds:    the image, messages with descriptors.
 */
#include "workers/net/queue.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/net/guard.h"
#include "workers/net/net.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 4			/* Linux 6.5 */
#endif

#define BATCH 16			/* messages looked at in one call */
#define USUAL 16384			/* bytes of a message; longer ones are fetched alone */

/* A message that was peeked at. */
struct message {
	uint32_t id;			/* of the socket */
	size_t length;
	void *data;
	uint8_t addr[sizeof(struct sockaddr_un)];
	size_t addr_len, nrights;
	struct ucred cred;
	bool has_cred;
	size_t *flight;			/* for each descriptor */
};

/* Where the kernel puts messages. */
struct inbox {
	struct mmsghdr head[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_un name[BATCH];
	char control[BATCH][CMSG_SPACE(QUEUE_RIGHTS_MAX * sizeof(int)) + 256];
	char data[BATCH][USUAL];
};

struct queues {
	struct image *img;
	struct inbox *inbox;
	struct message *held;
	size_t nheld, held_cap;
};

static void free_message(struct message *m)
{
	free(m->data);
	free(m->flight);
}

static int write_message(struct net *net, const struct message *m, struct fault *f)
{
	struct queues *q = net->queues;
	SkPacketEntry e = SK_PACKET_ENTRY__INIT;
	SkUcredEntry cred = SK_UCRED_ENTRY__INIT;
	ScmEntry scm = SCM_ENTRY__INIT, *list = &scm;
	uint32_t rights[QUEUE_RIGHTS_MAX];
	size_t i;

	if (!q->img)
		q->img = image_create(net_image_dir(net), IMG_SK_QUEUES, 0, f);
	if (!q->img)
		return -1;
	e.id_for = m->id;
	e.length = m->length;
	for (i = 0; i < m->nrights; i++)
		rights[i] = net_flown_id(net, m->flight[i]);
	scm.type = SCM_RIGHTS;
	scm.rights = rights;
	scm.n_rights = m->nrights;
	e.scm = &list;
	e.n_scm = m->nrights ? 1 : 0;
	e.has_addr = m->addr_len > 0;
	e.addr.data = (uint8_t *)m->addr;
	e.addr.len = m->addr_len;
	cred.pid = m->cred.pid;
	cred.uid = m->cred.uid;
	cred.gid = m->cred.gid;
	e.ucred = m->has_cred ? &cred : NULL;
	return image_write_with_data(q->img, &e.base, m->data, m->length, f);
}

/* Write it, or keep it while others of its socket may still be held. Takes m over. */
static int keep(struct net *net, struct message *m, struct fault *f)
{
	struct queues *q = net->queues;
	int r;

	if (m->nrights || (q->nheld && q->held[q->nheld - 1].id == m->id)) {
		*(struct message *)grow(&q->held, q->nheld, &q->held_cap, sizeof(*m)) = *m;
		q->nheld++;
		return 0;
	}
	r = write_message(net, m, f);
	free_message(m);
	return r;
}

/* Prepare to receive n messages of up to size bytes each at data. */
static void open_inbox(struct inbox *in, size_t n, void *data, size_t size)
{
	size_t i;

	for (i = 0; i < n; i++) {
		in->iov[i] = (struct iovec){ (char *)data + i * size, size };
		in->head[i].msg_hdr = (struct msghdr){
			.msg_name = &in->name[i], .msg_namelen = sizeof(in->name[i]),
			.msg_iov = &in->iov[i], .msg_iovlen = 1,
			.msg_control = in->control[i], .msg_controllen = sizeof(in->control[i]),
		};
	}
}

/*
 * What came beside the data. With m, descriptors fly and credentials are noted; without, they are
 * only counted. Returns the number of descriptors.
 */
static size_t read_control(struct net *net, struct msghdr *h, struct message *m)
{
	struct cmsghdr *c;
	size_t i, n = 0;
	int fd;

	for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (m && c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&m->cred, CMSG_DATA(c), sizeof(m->cred));
			m->has_cred = m->cred.pid != 0;
		}
		if (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != SCM_PIDFD)
			continue;
		if (m && c->cmsg_type == SCM_RIGHTS)
			m->flight = xcalloc(count, sizeof(*m->flight));
		for (i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (m && c->cmsg_type == SCM_RIGHTS)
				m->flight[i] = net_fly(net, fd);
			else if (fd >= 0)
				close(fd);
		}
		if (c->cmsg_type == SCM_RIGHTS)
			n += count;
	}
	if (m)
		m->nrights = n;
	return n;
}

static void set_peek_off(int fd, uint64_t value)
{
	int off = (int)value;

	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
}

/* Look at one message, or up to size bytes of a stream, at off. Returns the length, or -1. */
static ssize_t peek_at(const struct sock *s, struct inbox *in, size_t off, void *data, size_t size)
{
	set_peek_off(s->fd, off);
	open_inbox(in, 1, data, size);
	return recvmsg(s->fd, &in->head[0].msg_hdr, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

static int unreadable(const struct sock *s, int err, struct fault *f)
{
	char who[SOCK_NAME_MAX];

	return fault(f, err, "%s: look at what waits in it", sock_name(s, who, sizeof(who)));
}

/* Each descriptor that waits in a socket is one of ours as well. */
static int check_whole(const struct sock *s, const struct msghdr *h, struct fault *f)
{
	char who[SOCK_NAME_MAX];

	if (!(h->msg_flags & MSG_CTRUNC))
		return 0;
	return fault(f, -EMFILE, "%s: more descriptors wait in it than this process may have: "
		     "raise the limit (ulimit -n), or dump again when they have been read",
		     sock_name(s, who, sizeof(who)));
}

static struct message new_message(const struct sock *s, const void *data, size_t length)
{
	struct message m = { .id = s->id,
			     .length = length,
			     .data = xcalloc(length ? length : 1, 1) };

	memcpy(m.data, data, length);
	return m;
}

static void note_sender(struct message *m, const struct msghdr *h)
{
	if (h->msg_namelen <= sizeof(sa_family_t) || h->msg_namelen > sizeof(struct sockaddr_un))
		return;
	m->addr_len = h->msg_namelen - sizeof(sa_family_t);
	memcpy(m->addr, ((struct sockaddr_un *)h->msg_name)->sun_path, m->addr_len);
}

/* A message longer than usual, at off: fetch it with a buffer of its own. */
static int keep_long(struct net *net, struct sock *s, size_t off, size_t length, struct fault *f)
{
	AUTO_FREE char *data = xcalloc(1, length);
	struct inbox *in = net->queues->inbox;
	struct message m;

	if (peek_at(s, in, off, data, length) != (ssize_t)length)
		return unreadable(s, errno, f);
	m = new_message(s, data, length);
	note_sender(&m, &in->head[0].msg_hdr);
	read_control(net, &in->head[0].msg_hdr, &m);
	if (check_whole(s, &in->head[0].msg_hdr, f) == 0)
		return keep(net, &m, f);
	free_message(&m);
	return -1;
}

/*
 * A number of messages from *off on, which moves. Returns how many there were, or -1.
 * One longer than usual ends the round (*cut is its length): the kernel has moved on by less.
 */
static int keep_batch(struct net *net, struct sock *s, bool ended, size_t *off, size_t *cut,
		      struct fault *f)
{
	struct inbox *in = net->queues->inbox;
	bool stop = false;
	int i, n, kept = 0;

	*cut = 0;
	open_inbox(in, BATCH, in->data, USUAL);
	n = recvmmsg(s->fd, in->head, BATCH, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC,
		     NULL);
	if (n < 0)
		return errno == EAGAIN ? 0 : unreadable(s, errno, f);
	for (i = 0; i < n; i++) {
		struct msghdr *h = &in->head[i].msg_hdr;
		const size_t length = in->head[i].msg_len;
		struct message m;

		if (!stop && length > USUAL)
			*cut = length;
		stop = stop || *cut || (ended && !length) || check_whole(s, h, f) < 0;
		if (stop) {
			read_control(net, h, NULL);
			continue;
		}
		m = new_message(s, in->data[i], length);
		note_sender(&m, h);
		read_control(net, h, &m);
		*off += length;
		stop = keep(net, &m, f) < 0;
		kept++;
	}
	return f->code ? -1 : kept;
}

static int keep_messages(struct net *net, struct sock *s, bool ended, struct fault *f)
{
	size_t off = 0, cut;
	int n;

	set_peek_off(s->fd, 0);
	do {
		n = keep_batch(net, s, ended, &off, &cut, f);
		if (n < 0 || (cut && keep_long(net, s, off, cut, f) < 0))
			return -1;
		off += cut;
		if (cut)
			set_peek_off(s->fd, off);
	} while (n == BATCH || cut);
	return 0;
}

/*
 * The kernel tells bytes before a message with descriptors together with it, but the descriptors
 * come to who reads the first byte of that message: which of n bytes is it? A message is copied
 * whole or not at all: without a place for the last byte, all comes but the last message.
 */
static size_t find_carrier(const struct sock *s, struct inbox *in, size_t off, char *data, size_t n)
{
	struct iovec iov[] = { { data, n - 1 }, { (void *)1, 1 } };
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = in->control[0],
			    .msg_controllen = sizeof(in->control[0]) };
	ssize_t before;

	set_peek_off(s->fd, off);
	before = recvmsg(s->fd, &h, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (before < 0)
		return 0;
	read_control(NULL, &h, NULL);
	return before;
}

/* A stretch of a stream as the kernel gives it: one sender, at most one set of descriptors. */
static ssize_t keep_stretch(struct net *net, struct sock *s, size_t off, char *data, size_t size,
			    struct fault *f)
{
	struct inbox *in = net->queues->inbox;
	ssize_t n = peek_at(s, in, off, data, size);
	struct message m, before;
	size_t plain;

	if (n <= 0)
		return n < 0 && errno != EAGAIN ? unreadable(s, errno, f) : 0;
	m = (struct message){ .id = s->id };
	read_control(net, &in->head[0].msg_hdr, &m);
	if (check_whole(s, &in->head[0].msg_hdr, f) < 0) {
		free_message(&m);
		return -1;
	}
	plain = m.nrights ? find_carrier(s, in, off, data, n) : 0;
	if (plain) {
		before = new_message(s, data, plain);
		before.cred = m.cred;
		before.has_cred = m.has_cred;
		if (keep(net, &before, f) < 0) {
			free_message(&m);
			return -1;
		}
	}
	m.length = n - plain;
	m.data = xcalloc(1, m.length);
	memcpy(m.data, data + plain, m.length);
	return keep(net, &m, f) < 0 ? -1 : n;
}

static int keep_stream(struct net *net, struct sock *s, size_t waiting, struct fault *f)
{
	AUTO_FREE char *data = xcalloc(1, waiting);
	char who[SOCK_NAME_MAX];
	size_t off = 0;
	ssize_t n = 1;

	while (off < waiting && n > 0) {
		n = keep_stretch(net, s, off, data, waiting - off, f);
		if (n < 0)
			return -1;
		off += n;
	}
	if (off < waiting)
		return fault(f, -ENOTSUP, "%s: urgent data (MSG_OOB) waits in it, which cannot be "
			     "restored: dump again when it has been read",
			     sock_name(s, who, sizeof(who)));
	return 0;
}

/* The usual stream: all bytes in one look, without moving the offset. 1: done, 0: not so simple. */
static int keep_plain(struct net *net, struct sock *s, size_t waiting, struct fault *f)
{
	AUTO_FREE char *data = xcalloc(1, waiting);
	struct iovec iov = { data, waiting };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct message m;

	if (recvmsg(s->fd, &h, MSG_PEEK | MSG_DONTWAIT) != (ssize_t)waiting ||
	    h.msg_flags & MSG_CTRUNC)
		return 0;
	m = (struct message){ .id = s->id, .length = waiting, .data = take_ptr(&data) };
	return keep(net, &m, f) < 0 ? -1 : 1;
}

int queue_collect(struct net *net, struct sock *s, const struct waiting *w, struct fault *f)
{
	struct queues *q = net->queues;
	const bool stream = s->type == SOCK_STREAM;
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	int r, action;

	if (!q)
		q = net->queues = xcalloc(1, sizeof(*q));
	/* Not recv: it would mark an empty message as seen. */
	if (!w->bytes && (stream || poll(&p, 1, 0) == 0))
		return 0;
	r = stream && w->peek_off < 0 ? keep_plain(net, s, w->bytes, f) : 0;
	if (r)
		return r < 0 ? -1 : 0;
	if (!q->inbox)
		q->inbox = xcalloc(1, sizeof(*q->inbox));
	action = guard_add(net, s->fd, set_peek_off, w->peek_off, f);
	if (action < 0)
		return -1;
	guard_hot(net, action, true);
	r = stream ? keep_stream(net, s, w->bytes, f) : keep_messages(net, s, w->ended, f);
	set_peek_off(s->fd, w->peek_off);
	guard_drop(net, action);
	return r;
}

int queue_written(struct net *net, struct fault *f)
{
	struct queues *q = net->queues;
	size_t i;

	if (!q)
		return 0;
	for (i = 0; i < q->nheld; i++)
		if (write_message(net, &q->held[i], f) < 0)
			return -1;
	while (q->nheld)
		free_message(&q->held[--q->nheld]);
	return q->img ? image_close(&q->img, f) : 0;
}

void queue_end(struct net *net)
{
	struct queues *q = net->queues;

	if (!q)
		return;
	while (q->nheld)
		free_message(&q->held[--q->nheld]);
	auto_image(&q->img);
	free(q->held);
	free(q->inbox);
	free(q);
	net->queues = NULL;
}
