/* SPDX-License-Identifier: MIT */
/*
 * queue_restore.c - what waited in sockets (sk-queues.img) is sent again, by a socket that the kind
 * chooses.
 *
 * Rights:   CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID: to speak in the name of the sender.
 * Holds:    the image, its entries, and what data is short.
 */
#include "workers/net/queue_restore.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/net/net.h"
#include "workers/net/queue.h"
#include "workers/net/sock.h"
#include "workers/net/stand_in.h"

#define LENGTH_MAX (1u << 30)
#define SHORT 1024			/* bytes of a message that are kept from the beginning */
#define BUCKETS 4096

struct queue_restore {
	struct image *img;
	struct queued *first[BUCKETS], **last[BUCKETS];	/* by id */
};

static int damaged(const struct queued *q, const char *what, struct fault *f)
{
	return fault(f, -EBADMSG, "sk-queues.img: a message for socket %u %s", q->entry->id_for,
		     what);
}

/* Check an entry and name what it sends. */
static int check_message(struct net *net, const struct queued *q, uint64_t left, struct fault *f)
{
	const SkPacketEntry *e = q->entry;
	size_t i;

	if (!net_sock(net, e->id_for))
		return damaged(q, "which is not in files.img", f);
	if (e->length > LENGTH_MAX || e->length > left)
		return damaged(q, "is longer than the image", f);
	if (e->n_scm > 1 || (e->n_scm && (e->scm[0]->type != SCM_RIGHTS ||
					  e->scm[0]->n_rights > QUEUE_RIGHTS_MAX)))
		return damaged(q, "has ancillary data of an unknown kind", f);
	if (e->has_addr && e->addr.len > sizeof(((struct sockaddr_un *)0)->sun_path))
		return damaged(q, "has too long an address", f);
	for (i = 0; e->n_scm && i < e->scm[0]->n_rights; i++)
		net_need_file(net, e->scm[0]->rights[i]);
	return 0;
}

static void add_message(struct queue_restore *q, struct queued *m)
{
	const size_t at = m->entry->id_for % BUCKETS;

	if (!q->last[at])
		q->last[at] = &q->first[at];
	*q->last[at] = m;
	q->last[at] = &m->next;
}

/* Data of a few bytes is kept; the rest is read when it is sent. */
static int read_short(struct image *img, struct queued *m, struct fault *f)
{
	const size_t n = m->entry->length;

	if (n > SHORT)
		return image_skip_data(img, n, f);
	m->data = xcalloc(1, n + 1);
	return image_read_data(img, m->data, n, f);
}

int queue_prepare(struct net *net, struct fault *f)
{
	struct queue_restore *q = net->queue_restore;
	ProtobufCMessage *msg;
	int r;

	if (q)
		return 0;
	q = net->queue_restore = xcalloc(1, sizeof(*q));
	q->img = image_open_optional(net_image_dir(net), IMG_SK_QUEUES, 0, f);
	if (!q->img)
		return f->code ? -1 : 0;
	while ((r = image_read(q->img, &msg, f)) > 0) {
		struct queued *m = xcalloc(1, sizeof(*m));

		m->entry = (SkPacketEntry *)msg;
		m->offset = image_offset(q->img);
		add_message(q, m);
		if (check_message(net, m, image_left(q->img), f) < 0 ||
		    read_short(q->img, m, f) < 0)
			return -1;
	}
	return r;
}

static const struct queued *of_socket(const struct queued *m, uint32_t id)
{
	while (m && m->entry->id_for != id)
		m = m->next;
	return m;
}

const struct queued *queue_of(const struct net *net, uint32_t id)
{
	const struct queue_restore *q = net->queue_restore;

	return q ? of_socket(q->first[id % BUCKETS], id) : NULL;
}

const struct queued *queue_next(const struct queued *q)
{
	return of_socket(q->next, q->entry->id_for);
}

static struct cmsghdr *add_control(struct msghdr *h, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((char *)h->msg_control + h->msg_controllen);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	h->msg_controllen += CMSG_SPACE(len);
	return c;
}

static int add_rights(struct net *net, const struct queued *q, struct msghdr *h, struct fault *f)
{
	const ScmEntry *scm = q->entry->n_scm ? q->entry->scm[0] : NULL;
	int fds[QUEUE_RIGHTS_MAX];
	size_t i;

	if (!scm || !scm->n_rights)
		return 0;
	for (i = 0; i < scm->n_rights; i++) {
		fds[i] = net_file(net, scm->rights[i]);
		if (fds[i] < 0)
			return damaged(q, "carries a file that does not exist", f);
	}
	add_control(h, SCM_RIGHTS, fds, scm->n_rights * sizeof(int));
	return 0;
}

struct sending {
	int fd;
	struct msghdr *h;
	size_t length;
};

static int send_now(void *arg)
{
	const struct sending *s = arg;
	const ssize_t n = sendmsg(s->fd, s->h, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n == (ssize_t)s->length ? 0 : -1;
}

/* A sender who is dead by now: if his pid cannot be had, the rest of his credentials stands. */
static int send_for_dead(struct sending *s, struct cmsghdr *cred)
{
	struct ucred who;

	memcpy(&who, CMSG_DATA(cred), sizeof(who));
	if (stand_in(who.pid, send_now, s) == 0)
		return 0;
	who.pid = getpid();
	memcpy(CMSG_DATA(cred), &who, sizeof(who));
	return send_now(s);
}

/* What does not fit in the sender's buffer makes it larger; its size is set for good later. */
static int send_message(struct sending *s, struct cmsghdr *cred, bool *enlarged)
{
	const int most = INT_MAX / 2;
	int n = send_now(s);

	if (n < 0 && errno == ESRCH && cred)
		n = send_for_dead(s, cred);
	*enlarged = n < 0 && (errno == EAGAIN || errno == EMSGSIZE);
	if (*enlarged && setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &most, sizeof(most)) == 0)
		n = send_now(s);
	return n;
}

/* Its data, the caller's. NULL with f set. */
static char *fetch(struct image *img, const struct queued *q, struct fault *f)
{
	AUTO_FREE char *data = xcalloc(1, q->entry->length);
	int fd = image_fd(img, f);

	if (fd >= 0 &&
	    pread_full(fd, data, q->entry->length, q->offset) == (ssize_t)q->entry->length)
		return take_ptr(&data);
	if (fd >= 0)
		damaged(q, "cannot be read any more", f);
	return NULL;
}

int queue_send(struct net *net, const struct queued *q, int fd, const struct sockaddr *to,
	       socklen_t to_len, struct fault *f)
{
	const SkPacketEntry *e = q->entry;
	AUTO_FREE char *fetched = q->data ? NULL : fetch(net->queue_restore->img, q, f);
	char control[CMSG_SPACE(QUEUE_RIGHTS_MAX * sizeof(int)) +
		     CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct iovec iov = { q->data ? q->data : fetched, e->length };
	struct msghdr h = { .msg_name = (void *)to, .msg_namelen = to_len, .msg_iov = &iov,
			    .msg_iovlen = 1, .msg_control = control };
	struct sending s = { fd, &h, e->length };
	struct cmsghdr *cred = NULL;
	struct ucred who;
	bool enlarged;

	if (!iov.iov_base || add_rights(net, q, &h, f) < 0)
		return -1;
	if (e->ucred) {
		who = (struct ucred){ e->ucred->pid, e->ucred->uid, e->ucred->gid };
		cred = add_control(&h, SCM_CREDENTIALS, &who, sizeof(who));
	}
	if (send_message(&s, cred, &enlarged) < 0)
		return fault(f, errno, "queue a message of %u bytes for socket %u", e->length,
			     e->id_for);
	return enlarged;
}

void queue_restore_end(struct net *net)
{
	struct queue_restore *q = net->queue_restore;
	struct queued *m, *next;
	size_t i;

	if (!q)
		return;
	for (i = 0; i < BUCKETS; i++) {
		for (m = q->first[i]; m; m = next) {
			next = m->next;
			protobuf_c_message_free_unpacked(&m->entry->base, NULL);
			free(m->data);
			free(m);
		}
	}
	auto_image(&q->img);
	free(q);
	net->queue_restore = NULL;
}
