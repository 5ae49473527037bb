/* SPDX-License-Identifier: MIT */
/*
 * diag.c - dump: ask the kernel for all sockets of a family (sock_diag).
 *
 * Rights:   CAP_NET_ADMIN for filters of packet sockets, which we do not ask for: none.
 * Holds:    nothing.
 */
#include "workers/net/diag.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "proto/control/util.h"

#define ROOM 65536

static int send_request(int fd, const void *request, size_t size, struct fault *f)
{
	struct nlmsghdr h = {
		.nlmsg_len = NLMSG_LENGTH(size), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
	};
	struct iovec part[] = { { &h, sizeof(h) }, { (void *)request, size } };
	struct msghdr m = { .msg_iov = part, .msg_iovlen = ARRAY_LEN(part) };

	return sendmsg(fd, &m, 0) < 0 ? fault(f, errno, "ask for a list of sockets") : 0;
}

/* A module that is missing. */
static bool is_unknown(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);

	return h->nlmsg_len >= NLMSG_LENGTH(sizeof(*e)) &&
	       (e->error == -ENOENT || e->error == -EOPNOTSUPP || e->error == -EINVAL);
}

int diag_dump(const void *request, size_t size, size_t msg_size, diag_note *note, void *ctx,
	      struct fault *f)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	AUTO_FREE char *buf = xcalloc(1, ROOM);
	const size_t head = NLMSG_LENGTH(NLMSG_ALIGN(msg_size));
	struct nlmsghdr *h;
	ssize_t n;

	if (fd < 0)
		return fault(f, errno, "open a socket to ask for sockets");
	if (send_request(fd, request, size, f) < 0)
		return -1;
	for (;;) {
		n = recv(fd, buf, ROOM, 0);
		if (n < 0)
			return fault(f, errno, "read a list of sockets");
		for (h = (struct nlmsghdr *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return is_unknown(h) ? 1 : fault(f, -EIO, "a list of sockets ended "
								 "early");
			if (h->nlmsg_len >= NLMSG_LENGTH(msg_size))
				note(ctx, NLMSG_DATA(h), (struct nlattr *)((char *)h + head),
				     h->nlmsg_len > head ? h->nlmsg_len - head : 0);
		}
	}
}

const void *diag_attr(const struct nlattr *attr, size_t attr_bytes, int type, size_t at_least,
		      size_t *bytes)
{
	const char *at = (const char *)attr, *end = at + attr_bytes;

	while (end - at >= NLA_HDRLEN) {
		const struct nlattr *a = (const struct nlattr *)at;

		if (a->nla_len < NLA_HDRLEN || a->nla_len > end - at)
			break;
		if ((a->nla_type & NLA_TYPE_MASK) == type &&
		    a->nla_len - NLA_HDRLEN >= (int)at_least) {
			if (bytes)
				*bytes = a->nla_len - NLA_HDRLEN;
			return at + NLA_HDRLEN;
		}
		at += NLA_ALIGN(a->nla_len);
	}
	return NULL;
}

static int by_ino(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void diag_sort(void *list, size_t n, size_t size)
{
	if (n)
		qsort(list, n, size, by_ino);
}

void *diag_find(const void *list, size_t n, size_t size, uint64_t ino)
{
	return n ? bsearch(&ino, list, n, size, by_ino) : NULL;
}
