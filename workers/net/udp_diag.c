/* SPDX-License-Identifier: MIT */
/*
 * udp_diag.c - dump: which directions of UDP sockets are shut down; only sock_diag tells.
 *
 * Rights:   none.
 * Holds:    for each family and protocol asked for, the sockets that are shut down.
 */
#include "workers/net/udp_diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"

#define ROOM 65536

struct shut {
	uint32_t ino, how;
};

struct udp_diag {
	int family, protocol;
	struct shut *list;
	size_t n, cap;
	struct udp_diag *next;
};

static int send_request(int fd, int family, int protocol)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} req = {
		.h = { .nlmsg_len = sizeof(req), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = ~0u },
	};

	return send(fd, &req, sizeof(req), 0) < 0 ? -1 : 0;
}

static void note(struct udp_diag *d, struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	int left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*m));
	struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(sizeof(*m)));

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		uint32_t how = a->rta_type == INET_DIAG_SHUTDOWN ? *(uint8_t *)RTA_DATA(a) : 0;

		if (how)
			*(struct shut *)grow(&d->list, d->n++, &d->cap, sizeof(*d->list)) =
				(struct shut){ m->idiag_inode, how };
	}
}

/* A kernel without the module that answers tells nothing: then nothing is taken for shut down. */
static int read_answer(struct udp_diag *d, int fd, struct fault *f)
{
	AUTO_FREE char *buf = xcalloc(1, ROOM);
	struct nlmsghdr *h;
	ssize_t n;

	for (;;) {
		n = recv(fd, buf, ROOM, 0);
		if (n < 0)
			return fault(f, errno, "read the list of UDP sockets");
		for (h = (struct nlmsghdr *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return 0;
			if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
				note(d, h);
		}
	}
}

static struct udp_diag *learn(struct udp_diag **known, int family, int protocol, struct fault *f)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct udp_diag *d = xcalloc(1, sizeof(*d));

	d->family = family;
	d->protocol = protocol;
	d->next = *known;
	*known = d;
	if (fd < 0 || send_request(fd, family, protocol) < 0) {
		fault(f, errno, "ask for the list of UDP sockets");
		return NULL;
	}
	return read_answer(d, fd, f) < 0 ? NULL : d;
}

int udp_diag_shutdown(struct udp_diag **known, const struct sock *s, uint32_t *how, struct fault *f)
{
	const struct udp_diag *d = *known;
	size_t i;

	while (d && (d->family != s->family || d->protocol != s->protocol))
		d = d->next;
	if (!d)
		d = learn(known, s->family, s->protocol, f);
	if (!d)
		return -1;
	*how = 0;
	for (i = 0; i < d->n; i++)
		if (d->list[i].ino == s->ino)
			*how = d->list[i].how & 3;
	return 0;
}

void udp_diag_end(struct udp_diag *known)
{
	struct udp_diag *next;

	for (; known; known = next) {
		next = known->next;
		free(known->list);
		free(known);
	}
}
