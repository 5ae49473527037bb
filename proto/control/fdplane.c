/* SPDX-License-Identifier: MIT */
/*
 * fdplane.c - SCM_RIGHTS with tickets.
 *
 * Rights:   none.
 * Holds:    nothing between calls.
 */
#include "proto/control/fdplane.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/control/util.h"

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(FDPLANE_MAX * sizeof(int))];
};

static int send_packet(int sock, uint64_t ticket, const int *fds, size_t n)
{
	union control control = { 0 };
	struct iovec iov = { &ticket, sizeof(ticket) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
			     .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	ssize_t r;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	do
		r = sendmsg(sock, &mh, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -1 : 0;
}

int fdplane_send(int sock, uint64_t ticket, const int *fds, size_t n, struct fault *f)
{
	size_t part;

	for (; n; n -= part, fds += part) {
		part = n < FDPLANE_MAX ? n : FDPLANE_MAX;
		if (send_packet(sock, ticket, fds, part) == 0)
			continue;
		if (errno == EPIPE || errno == ECONNRESET)
			return fault(f, -ECONNRESET, "pass descriptors: the peer is gone");
		return fault(f, errno, "pass %zu descriptors to the other process", part);
	}
	return 0;
}

/* Take one packet's descriptors, at most max; returns how many, -1 with errno. */
static int recv_packet(int sock, int flags, uint64_t *ticket, int *fds, size_t max)
{
	union control control = { 0 };
	struct iovec iov = { ticket, sizeof(*ticket) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
			     .msg_controllen = CMSG_SPACE(max * sizeof(int)) };
	struct cmsghdr *c;
	ssize_t r;

	do
		r = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | flags);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -1;
	c = CMSG_FIRSTHDR(&mh);
	if (r != sizeof(*ticket) || !c || c->cmsg_type != SCM_RIGHTS || mh.msg_flags & MSG_CTRUNC) {
		/* The kernel cuts off what finds no number in our table (recvmsg(2)). */
		errno = mh.msg_flags & MSG_CTRUNC ? EMFILE : EBADMSG;
		return -1;
	}
	r = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), r * sizeof(int));
	return r;
}

int fdplane_recv(int sock, uint64_t ticket, int *fds, size_t n, struct fault *f)
{
	size_t have = 0, max;
	uint64_t got;
	int r = 0;

	while (have < n) {
		max = n - have < FDPLANE_MAX ? n - have : FDPLANE_MAX;
		r = recv_packet(sock, 0, &got, fds + have, max);
		if (r > 0)
			have += r;
		if (r <= 0 || got != ticket)
			break;
	}
	if (have == n && (!n || got == ticket))
		return 0;
	fault(f, r < 0 ? errno : -EBADMSG, "expected %zu descriptors under ticket %llu, got %zu%s",
	      n, (unsigned long long)ticket, have, r < 0 && errno == EMFILE ?
	      ": raise the limit on open files of stasis (ulimit -Hn)" : "");
	while (have)
		auto_close(&fds[--have]);
	return -1;
}

size_t fdplane_drop(int sock)
{
	int fds[FDPLANE_MAX], r, i;
	uint64_t ticket;
	size_t n = 0;

	while ((r = recv_packet(sock, MSG_DONTWAIT, &ticket, fds, FDPLANE_MAX)) > 0) {
		for (i = 0; i < r; i++)
			close(fds[i]);
		n += r;
	}
	return n;
}
