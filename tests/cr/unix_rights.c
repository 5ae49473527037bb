// SPDX-License-Identifier: MIT
/* unix_rights.c - descriptors in flight: files, pipes, sockets in sockets, several at once. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define MANY 200

static int stream[2], dgram[2], outer[2], waiting_pipe[2], many[2];

static void send_fds(int via, const void *text, size_t len, const int *fds, int n)
{
	char control[CMSG_SPACE(MANY * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)text, len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	CHECK(sendmsg(via, &h, 0) == (ssize_t)len);
}

/* Returns how many came with up to len bytes, which must be text. */
static int take_fds(int via, const char *text, size_t len, int *fds)
{
	char control[CMSG_SPACE(MANY * sizeof(int))] = { 0 }, in[64];
	struct iovec iov = { in, len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int n;

	CHECK(recvmsg(via, &h, MSG_DONTWAIT) == (ssize_t)len && memcmp(in, text, len) == 0);
	CHECK(!(h.msg_flags & MSG_CTRUNC));
	c = CMSG_FIRSTHDR(&h);
	if (!c)
		return 0;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return n;
}

static void before(void)
{
	int fds[MANY], file, event = eventfd(41, EFD_NONBLOCK), inner[2], innermost[2], i;

	file = open(case_path("file"), O_RDWR | O_CREAT, 0600);
	CHECK(write(file, "contents", 8) == 8 && lseek(file, 3, SEEK_SET) == 3);
	CHECK(pipe(waiting_pipe) == 0 && write(waiting_pipe[1], "in pipe", 7) == 7);

	/* The descriptors of a stream come with the first byte of their message, not before. */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
	CHECK(write(stream[0], "head", 4) == 4);
	fds[0] = file;
	fds[1] = event;
	send_fds(stream[0], "with", 4, fds, 2);
	CHECK(write(stream[0], "tail", 4) == 4);
	send_fds(stream[0], "p", 1, &waiting_pipe[0], 1);

	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram) == 0);
	CHECK(write(dgram[0], "plain", 5) == 5);
	send_fds(dgram[0], "", 0, &file, 1);
	send_fds(dgram[0], "both", 4, &dgram[1], 1);

	/* A socket in a socket in a socket; of the innermost pair no table has an end. */
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, outer) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, innermost) == 0);
	CHECK(write(innermost[0], "deep", 4) == 4);
	send_fds(inner[0], "ii", 2, innermost, 2);
	send_fds(outer[0], "i", 1, inner, 2);

	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, many) == 0);
	for (i = 0; i < MANY; i++)
		fds[i] = i % 2 ? file : waiting_pipe[1];
	send_fds(many[0], "many", 4, fds, MANY);

	close(file);
	close(event);
	close(waiting_pipe[0]);
	for (i = 0; i < 2; i++) {
		close(inner[i]);
		close(innermost[i]);
	}
}

static void check_stream(void)
{
	unsigned long long n = 0;
	char in[16];
	int fds[MANY];

	CHECK(take_fds(stream[1], "head", 4, fds) == 0);
	CHECK(take_fds(stream[1], "with", 4, fds) == 2);
	CHECK(read(fds[0], in, sizeof(in)) == 5 && memcmp(in, "tents", 5) == 0);
	CHECK(lseek(fds[0], 0, SEEK_CUR) == 8);
	CHECK(read(fds[1], &n, sizeof(n)) == sizeof(n) && n == 41);
	CHECK(take_fds(stream[1], "tail", 4, fds + 2) == 0);
	CHECK(take_fds(stream[1], "p", 1, fds + 2) == 1);
	CHECK(read(fds[2], in, sizeof(in)) == 7 && memcmp(in, "in pipe", 7) == 0);
	CHECK(write(waiting_pipe[1], "x", 1) == 1 && read(fds[2], in, 1) == 1);

	/* The same open file. */
	CHECK(take_fds(dgram[1], "plain", 5, fds + 3) == 0);
	CHECK(take_fds(dgram[1], "", 0, fds + 3) == 1);
	CHECK(lseek(fds[3], 1, SEEK_SET) == 1 && lseek(fds[0], 0, SEEK_CUR) == 1);
	CHECK(take_fds(dgram[1], "both", 4, fds + 3) == 1);
	CHECK(write(dgram[0], "s", 1) == 1 && read(fds[3], in, sizeof(in)) == 1);
}

static void after(void)
{
	int fds[MANY], inner[2], i;
	char in[16];

	check_stream();
	CHECK(take_fds(outer[1], "i", 1, inner) == 2);
	CHECK(take_fds(inner[1], "ii", 2, fds) == 2);
	CHECK(read(fds[1], in, sizeof(in)) == 4 && memcmp(in, "deep", 4) == 0);
	CHECK(write(fds[1], "up", 2) == 2 && read(fds[0], in, sizeof(in)) == 2);
	CHECK(take_fds(many[1], "many", 4, fds) == MANY);
	for (i = 0; i < MANY; i++)
		CHECK(fcntl(fds[i], F_GETFD) >= 0);
	CHECK(write(fds[0], "w", 1) == 1 && lseek(fds[1], 2, SEEK_SET) == 2);
	CHECK(lseek(fds[3], 0, SEEK_CUR) == 2);
}

const struct test_case test_case = {
	.proves = "descriptors in flight arrive with their message, sockets in sockets too",
	.criu_fails = "sockets that carry sockets, more than some 250 bytes of descriptors",
	.before = before,
	.after = after,
};
