/* SPDX-License-Identifier: MIT */
/*
 * Time stamps of messages, and a filter that is locked, of unix sockets: as in journald and
 * syslogd.
 */
#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int stamped[2], locked[2];
static struct sock_filter accept_all[] = { { BPF_RET | BPF_K, 0, 0, 0xffff } };

static void before(void)
{
	struct sock_fprog prog = { 1, accept_all };
	int on = 1;

	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, stamped) == 0);
	CHECK(setsockopt(stamped[0], SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, locked) == 0);
	CHECK(setsockopt(locked[0], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	CHECK(setsockopt(locked[0], SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)) == 0);
}

static void check_stamp(int fd, int stamps)
{
	char text[8], control[256];
	struct iovec part = { text, sizeof(text) };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int n = 0;

	CHECK(recvmsg(fd, &m, 0) == 3 && !memcmp(text, "hey", 3));
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		n += c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP;
	CHECK(n == stamps);
}

static void after(void)
{
	int on = 0;

	CHECK(write(stamped[1], "hey", 3) == 3 && write(stamped[0], "hey", 3) == 3);
	check_stamp(stamped[0], 1);
	check_stamp(stamped[1], 0);
	CHECK(write(locked[1], "hey", 3) == 3);
	check_stamp(locked[0], 0);
	CHECK(setsockopt(locked[0], SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof(on)) < 0 &&
	      errno == EPERM);
}

const struct test_case test_case = {
	.proves = "unix sockets stamp messages with the time, and keep a locked filter",
	.criu_fails = "has no fields for it",
	.before = before,
	.after = after,
};
