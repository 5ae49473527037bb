// SPDX-License-Identifier: MIT
/* rights_many.c - thousands of descriptors in flight; $RIGHTS of them to measure how time grows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define SOCKETS 10
#define EACH 50

static int ends[SOCKETS][2];
static int many = 5000;

/* A message with EACH descriptors of events that have counted to first and on. */
static void send_events(int via, int first)
{
	char control[CMSG_SPACE(EACH * sizeof(int))] = { 0 };
	struct iovec iov = { &first, sizeof(first) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int fds[EACH], i;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	for (i = 0; i < EACH; i++)
		fds[i] = eventfd(first + i, EFD_NONBLOCK);
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	CHECK(sendmsg(via, &h, MSG_DONTWAIT) == sizeof(first));
	for (i = 0; i < EACH; i++)
		close(fds[i]);
}

static void take_events(int via, int first)
{
	char control[CMSG_SPACE(EACH * sizeof(int))] = { 0 };
	int in = 0, fds[EACH], i;
	struct iovec iov = { &in, sizeof(in) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	uint64_t value;

	CHECK(recvmsg(via, &h, MSG_DONTWAIT) == sizeof(in) && in == first);
	c = CMSG_FIRSTHDR(&h);
	if (!CHECK(c && c->cmsg_len == CMSG_LEN(sizeof(fds)) && !(h.msg_flags & MSG_CTRUNC)))
		return;
	memcpy(fds, CMSG_DATA(c), sizeof(fds));
	for (i = 0; i < EACH; i++) {
		CHECK(read(fds[i], &value, sizeof(value)) == sizeof(value) &&
		      value == (uint64_t)first + i);
		close(fds[i]);
	}
}

static void before(void)
{
	const char *count = getenv("RIGHTS");
	const int size = 1 << 20;
	struct rlimit l;
	int i;

	if (count)
		many = atoi(count);
	CHECK(getrlimit(RLIMIT_NOFILE, &l) == 0);
	l.rlim_cur = l.rlim_max;
	if (l.rlim_max < 2u * many || setrlimit(RLIMIT_NOFILE, &l) < 0)
		case_skip("so many descriptors may not be in flight (RLIMIT_NOFILE)");
	for (i = 0; i < SOCKETS; i++) {
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends[i]) == 0);
		CHECK(setsockopt(ends[i][0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
	}
	for (i = 0; i < many / EACH; i++)
		send_events(ends[i % SOCKETS][0], 1 + i * EACH);
}

static void after(void)
{
	int i;

	for (i = 0; i < many / EACH; i++)
		take_events(ends[i % SOCKETS][1], 1 + i * EACH);
}

const struct test_case test_case = {
	.proves = "thousands of descriptors in flight arrive, each where it was sent",
	.before = before,
	.after = after,
};
