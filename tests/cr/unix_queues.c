// SPDX-License-Identifier: MIT
/* unix_queues.c - sockets with messages in them, as CRIU can do them too. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

static int stream[2], seq[2], server, client, listener, connected, accepted;
static int deleted, deleted_client, waiting, rights[2], pipe_end[2], half[2], lone;

static socklen_t named(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return offsetof(struct sockaddr_un, sun_path) + 1 +
	       snprintf(a->sun_path, sizeof(a->sun_path), "%s", case_path(name));
}

/*
 * The socket at that name is gone from the file system; descriptors in flight; ends shut and
 * closed.
 */
static void before_others(void)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "r", 1 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	struct sockaddr_un a;
	socklen_t len = named(&a, "deleted");
	int pair[2];

	deleted = socket(AF_UNIX, SOCK_DGRAM, 0);
	deleted_client = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(bind(deleted, (struct sockaddr *)&a, len) == 0);
	CHECK(connect(deleted_client, (struct sockaddr *)&a, len) == 0 && unlink(a.sun_path) == 0);
	CHECK(write(deleted_client, "del", 3) == 3);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, rights) == 0 && pipe(pipe_end) == 0);
	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &pipe_end[0], sizeof(int));
	CHECK(sendmsg(rights[0], &h, 0) == 1);
	CHECK(close(pipe_end[0]) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0);
	CHECK(write(half[0], "h", 1) == 1 && shutdown(half[0], SHUT_WR) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(write(pair[1], "lone", 4) == 4 && close(pair[1]) == 0);
	lone = pair[0];
}

static void before(void)
{
	struct sockaddr_un a;
	socklen_t len;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 && write(stream[0], "abc", 3) == 3);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, seq) == 0);
	CHECK(write(seq[0], "1", 1) == 1 && write(seq[0], "22", 2) == 2);
	server = socket(AF_UNIX, SOCK_DGRAM, 0);
	client = socket(AF_UNIX, SOCK_DGRAM, 0);
	len = named(&a, "server");
	CHECK(bind(server, (struct sockaddr *)&a, len) == 0);
	CHECK(connect(client, (struct sockaddr *)&a, len) == 0);
	CHECK(write(client, "x", 1) == 1 && write(client, "yy", 2) == 2);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	connected = socket(AF_UNIX, SOCK_STREAM, 0);
	len = named(&a, "listener");
	CHECK(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 5) == 0);
	CHECK(connect(connected, (struct sockaddr *)&a, len) == 0);
	accepted = accept(listener, NULL, NULL);
	CHECK(accepted >= 0 && write(connected, "to", 2) == 2 && write(accepted, "fro", 3) == 3);
	waiting = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(waiting, (struct sockaddr *)&a, len) == 0);
	before_others();
}

static void after_others(void)
{
	char control[CMSG_SPACE(sizeof(int))], in[16];
	struct iovec iov = { in, sizeof(in) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd = -1;

	CHECK(read(deleted, in, sizeof(in)) == 3 && write(deleted_client, "more", 4) == 4);
	CHECK(read(deleted, in, sizeof(in)) == 4 && access(case_path("deleted"), F_OK) == -1);
	CHECK(recvmsg(rights[1], &h, 0) == 1 && h.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
	CHECK(write(pipe_end[1], "pipe", 4) == 4 && read(fd, in, sizeof(in)) == 4);
	CHECK(read(half[1], in, sizeof(in)) == 1 && read(half[1], in, sizeof(in)) == 0);
	CHECK(read(lone, in, sizeof(in)) == 4 && read(lone, in, sizeof(in)) == 0);
}

static void after(void)
{
	char in[16];
	struct sockaddr_un a;
	socklen_t len = named(&a, "listener");
	int one;

	CHECK(read(stream[1], in, sizeof(in)) == 3 && memcmp(in, "abc", 3) == 0);
	CHECK(read(seq[1], in, sizeof(in)) == 1 && read(seq[1], in, sizeof(in)) == 2);
	CHECK(read(server, in, sizeof(in)) == 1 && read(server, in, sizeof(in)) == 2);
	CHECK(write(client, "zzz", 3) == 3 && read(server, in, sizeof(in)) == 3);
	CHECK(read(accepted, in, sizeof(in)) == 2 && read(connected, in, sizeof(in)) == 3);
	CHECK(write(accepted, "more", 4) == 4 && read(connected, in, sizeof(in)) == 4);
	CHECK(write(waiting, "w", 1) == 1);
	one = accept(listener, NULL, NULL);
	CHECK(one >= 0 && read(one, in, sizeof(in)) == 1);
	after_others();
	one = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(connect(one, (struct sockaddr *)&a, len) == 0 && accept(listener, NULL, NULL) >= 0);
}

const struct test_case test_case = {
	.proves = "messages wait in unix sockets, which stay connected and listening",
	.before = before,
	.after = after,
};
