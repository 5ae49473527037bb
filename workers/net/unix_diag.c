/* SPDX-License-Identifier: MIT */
/*
 * unix_diag.c - what the kernel tells of all unix sockets at once (NETLINK_SOCK_DIAG).
 *
 * One dump of the whole table: it costs less than one question for each of some ten sockets.
 *
 * Rights:   none.
 * Holds:    nothing; the caller has the records.
 */
#include "workers/net/unix_diag.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"
#include "workers/common/pool.h"

#define BUCKETS 16384
#define ANSWER_MAX (256 * 1024)

struct unix_diag {
	struct pool records;
	struct unix_rec *bucket[BUCKETS];
};

static struct unix_rec **bucket(const struct unix_diag *d, uint32_t ino)
{
	return (struct unix_rec **)&d->bucket[(ino * 0x9e3779b1u) >> 18];
}

struct unix_rec *unix_diag_find(const struct unix_diag *d, uint32_t ino)
{
	struct unix_rec *r;

	for (r = *bucket(d, ino); r; r = r->next)
		if (r->ino == ino)
			return r;
	return NULL;
}

static int ask(int sock, bool whole, struct fault *f)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req body;
	} req = {
		.head = { sizeof(req), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
		.body = {
			.sdiag_family = AF_UNIX,
			.udiag_states = ~0u,
			.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER |
				      (whole ? UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN |
					       UDIAG_SHOW_MEMINFO : 0),
		},
	};

	if (send(sock, &req, sizeof(req), 0) != sizeof(req))
		return fault(f, errno, "ask for the unix sockets of this machine");
	return 0;
}

/* Attributes by number; those not there stay NULL. */
static void split(const struct nlmsghdr *h, struct rtattr **at)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	struct rtattr *a = (struct rtattr *)(m + 1);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m));

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type <= UNIX_DIAG_MAX)
			at[a->rta_type] = a;
}

static void add(struct unix_diag *d, const struct nlmsghdr *h)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	struct rtattr *at[UNIX_DIAG_MAX + 1] = { NULL }, *name, *icons;
	const struct unix_diag_rqlen *queue;
	const uint32_t *memory;
	struct unix_rec *r;
	size_t nname, nicons;
	char *tail;

	/* The table may change while it is told: one may come twice. */
	if (unix_diag_find(d, m->udiag_ino))
		return;
	split(h, at);
	name = at[UNIX_DIAG_NAME];
	icons = at[UNIX_DIAG_ICONS];
	nname = name ? RTA_PAYLOAD(name) : 0;
	nicons = icons ? RTA_PAYLOAD(icons) / sizeof(uint32_t) : 0;
	r = pool_take(&d->records, sizeof(*r) + nicons * sizeof(uint32_t) + nname);
	tail = (char *)(r + 1);
	r->ino = m->udiag_ino;
	r->type = m->udiag_type;
	r->state = m->udiag_state;
	if (at[UNIX_DIAG_SHUTDOWN])
		r->shutdown = *(uint8_t *)RTA_DATA(at[UNIX_DIAG_SHUTDOWN]);
	r->has_peer = at[UNIX_DIAG_PEER] != NULL;
	if (r->has_peer)
		r->peer = *(uint32_t *)RTA_DATA(at[UNIX_DIAG_PEER]);
	queue = at[UNIX_DIAG_RQLEN] ? RTA_DATA(at[UNIX_DIAG_RQLEN]) : NULL;
	if (queue) {
		r->waiting = queue->udiag_rqueue;
		r->room = queue->udiag_wqueue;
	}
	if (at[UNIX_DIAG_MEMINFO] && RTA_PAYLOAD(at[UNIX_DIAG_MEMINFO]) > SK_MEMINFO_OPTMEM * 4) {
		memory = RTA_DATA(at[UNIX_DIAG_MEMINFO]);
		r->sndbuf = memory[SK_MEMINFO_SNDBUF];
		r->rcvbuf = memory[SK_MEMINFO_RCVBUF];
		r->no_filter = !memory[SK_MEMINFO_OPTMEM];
	}
	r->nicons = nicons;
	r->icons = (const uint32_t *)tail;
	if (nicons)
		memcpy(tail, RTA_DATA(icons), nicons * sizeof(uint32_t));
	r->name_len = nname;
	r->name = (const uint8_t *)tail + nicons * sizeof(uint32_t);
	if (nname)
		memcpy(tail + nicons * sizeof(uint32_t), RTA_DATA(name), nname);
	r->next = *bucket(d, r->ino);
	*bucket(d, r->ino) = r;
}

/* One answer: 1 when more follow, 0 after the last one, -1. */
static int take(struct unix_diag *d, int sock, char *buf, struct fault *f)
{
	ssize_t n = recv(sock, buf, ANSWER_MAX, 0);
	struct nlmsghdr *h = (struct nlmsghdr *)buf;
	const struct nlmsgerr *err;

	if (n < 0)
		return errno == EINTR ? 1 : fault(f, errno, "read the list of unix sockets");
	for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			err = NLMSG_DATA(h);
			return fault(f, -err->error, "the kernel does not list its unix sockets "
				     "(CONFIG_UNIX_DIAG is needed)");
		}
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
			add(d, h);
	}
	return 1;
}

static void link_icons(const struct unix_diag *d, struct unix_rec *r)
{
	struct unix_rec *icon;
	size_t k;

	for (k = 0; k < r->nicons; k++) {
		icon = unix_diag_find(d, r->icons[k]);
		if (icon)
			icon->listener = r;
	}
}

static void link_all(const struct unix_diag *d)
{
	struct unix_rec *r;
	size_t i;

	for (i = 0; i < BUCKETS; i++)
		for (r = d->bucket[i]; r; r = r->next) {
			if (r->peer && !r->other)
				r->other = unix_diag_find(d, r->peer);
			if (r->other && r->other->peer == r->ino)
				r->other->other = r;
			link_icons(d, r);
		}
}

struct unix_diag *unix_diag_read(bool whole, struct fault *f)
{
	AUTO_CLOSE int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	AUTO_FREE char *buf = xcalloc(1, ANSWER_MAX);
	struct unix_diag *d;
	int r = 1;

	if (sock < 0) {
		fault(f, errno, "open a diagnosis socket");
		return NULL;
	}
	if (ask(sock, whole, f) < 0)
		return NULL;
	d = xcalloc(1, sizeof(*d));
	while (r > 0)
		r = take(d, sock, buf, f);
	if (r == 0) {
		if (whole)
			link_all(d);
		return d;
	}
	unix_diag_free(d);
	return NULL;
}

void unix_diag_free(struct unix_diag *d)
{
	if (d)
		pool_free(&d->records);
	free(d);
}
