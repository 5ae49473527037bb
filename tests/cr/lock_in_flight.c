// SPDX-License-Identifier: MIT
/* lock_in_flight.c - a locked file that is in no table, but in flight in a socket. */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int ends[2];

static struct msghdr message(struct iovec *iov, char *control, size_t size)
{
	return (struct msghdr){ .msg_iov = iov, .msg_iovlen = 1, .msg_control = control,
				.msg_controllen = size };
}

static void before(void)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr h = message(&iov, control, sizeof(control));
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int file = open(case_path("locked"), O_RDWR | O_CREAT, 0600);

	CHECK(file >= 0 && flock(file, LOCK_EX) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &file, sizeof(file));
	CHECK(sendmsg(ends[0], &h, 0) == 1 && close(file) == 0);
}

/* The lock is there still: another open file does not get it until the one in flight is closed. */
static void after(void)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr h = message(&iov, control, sizeof(control));
	int other = open(case_path("locked"), O_RDWR), file = -1;

	CHECK(flock(other, LOCK_EX | LOCK_NB) < 0);
	CHECK(recvmsg(ends[1], &h, 0) == 1 && CMSG_FIRSTHDR(&h));
	memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(file));
	CHECK(close(file) == 0 && flock(other, LOCK_EX | LOCK_NB) == 0);
}

const struct test_case test_case = {
	.proves = "a lock of a file in flight is not lost in silence",
	.options = "--file-locks",
	.criu_fails = "loses the lock in silence",
	.later = "in flight: images know locks by task and descriptor",
	.before = before,
	.after = after,
};
