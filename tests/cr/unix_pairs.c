// SPDX-License-Identifier: MIT
/* unix_pairs.c - socket pairs: what waits in them, closed and half-closed ends, options. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

#define BIG 100000

static int stream[2], dgram[2], seq[2], half[2], lone[2], lone_seq, reset, self_closed_dgram,
	opts[2];
static char big[BIG];

static void fill_big(void)
{
	int i;

	for (i = 0; i < BIG; i++)
		big[i] = (char)(i * 7 + i / 251);
}

static void before(void)
{
	int pair[2], v = 3;
	struct timeval tv = { 5, 500000 };

	fill_big();
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
	CHECK(write(stream[0], "hello ", 6) == 6 && write(stream[0], "world", 5) == 5);
	CHECK(write(stream[1], big, 70000) == 70000);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, dgram) == 0);
	CHECK(write(dgram[0], "one", 3) == 3 && write(dgram[0], "", 0) == 0);
	CHECK(write(dgram[0], big, BIG) == BIG && write(dgram[0], "four", 4) == 4);
	CHECK(write(dgram[1], "back", 4) == 4);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, seq) == 0);
	CHECK(write(seq[0], big, BIG) == BIG && write(seq[0], "two", 3) == 3);

	/* One direction shut, with data in it. */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, half) == 0);
	CHECK(write(half[0], "last", 4) == 4 && shutdown(half[0], SHUT_WR) == 0);

	/* Ends whose other end is closed, with what was sent before. */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, lone) == 0);
	CHECK(write(lone[1], "bye", 3) == 3 && close(lone[1]) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHECK(write(pair[1], "b", 1) == 1 && write(pair[1], "ye", 2) == 2 && close(pair[1]) == 0);
	lone_seq = pair[0];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(write(pair[0], "unread", 6) == 6 && close(pair[1]) == 0);
	reset = pair[0];
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	CHECK(write(pair[1], "gone", 4) == 4 && close(pair[1]) == 0);
	self_closed_dgram = pair[0];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, opts) == 0);
	CHECK(setsockopt(opts[0], SOL_SOCKET, SO_PEEK_OFF, &v, sizeof(v)) == 0);
	CHECK(setsockopt(opts[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	CHECK(setsockopt(opts[1], SOL_SOCKET, SO_PASSCRED, &v, sizeof(v)) == 0);
	CHECK(write(opts[1], "0123456789", 10) == 10);
}

static void check_stream(void)
{
	static char in[BIG];
	size_t n = 0;
	ssize_t r;

	CHECK(read(stream[1], in, sizeof(in)) == 11 && memcmp(in, "hello world", 11) == 0);
	while (n < 70000 && (r = read(stream[0], in + n, 70000 - n)) > 0)
		n += r;
	CHECK(n == 70000 && memcmp(in, big, n) == 0);
	CHECK(write(stream[0], "again", 5) == 5 && read(stream[1], in, 10) == 5);
}

static void check_messages(void)
{
	static char in[BIG + 1];

	CHECK(read(dgram[1], in, sizeof(in)) == 3 && memcmp(in, "one", 3) == 0);
	CHECK(read(dgram[1], in, sizeof(in)) == 0);
	CHECK(read(dgram[1], in, sizeof(in)) == BIG && memcmp(in, big, BIG) == 0);
	CHECK(read(dgram[1], in, sizeof(in)) == 4 && memcmp(in, "four", 4) == 0);
	CHECK(read(dgram[1], in, sizeof(in)) == -1 && errno == EAGAIN);
	CHECK(read(dgram[0], in, sizeof(in)) == 4 && memcmp(in, "back", 4) == 0);
	CHECK(read(seq[1], in, sizeof(in)) == BIG && memcmp(in, big, BIG) == 0);
	CHECK(read(seq[1], in, sizeof(in)) == 3 && memcmp(in, "two", 3) == 0);
	CHECK(read(seq[1], in, sizeof(in)) == -1 && errno == EAGAIN);
}

static void check_closed(void)
{
	struct pollfd p = { .fd = reset, .events = POLLIN };
	char in[16];

	CHECK(read(half[1], in, sizeof(in)) == 4 && read(half[1], in, sizeof(in)) == 0);
	CHECK(write(half[1], "x", 1) == 1 && read(half[0], in, sizeof(in)) == 1);
	CHECK(send(half[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	CHECK(read(lone[0], in, sizeof(in)) == 3 && read(lone[0], in, sizeof(in)) == 0);
	CHECK(send(lone[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	CHECK(read(lone_seq, in, sizeof(in)) == 1 && read(lone_seq, in, sizeof(in)) == 2);
	CHECK(read(lone_seq, in, sizeof(in)) == 0);
	CHECK(poll(&p, 1, 0) == 1 && p.revents & POLLERR);
	CHECK(read(reset, in, sizeof(in)) == -1 && errno == ECONNRESET);
	CHECK(recv(self_closed_dgram, in, sizeof(in), MSG_DONTWAIT) == 4 &&
	      memcmp(in, "gone", 4) == 0);
	CHECK(send(self_closed_dgram, "x", 1, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED);
}

static void check_options(void)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(int);
	char in[16];
	int v = 0;

	CHECK(getsockopt(opts[0], SOL_SOCKET, SO_PEEK_OFF, &v, &len) == 0 && v == 3);
	CHECK(recv(opts[0], in, 2, MSG_PEEK) == 2 && memcmp(in, "34", 2) == 0);
	CHECK(getsockopt(opts[1], SOL_SOCKET, SO_PASSCRED, &v, &len) == 0 && v == 1);
	len = sizeof(tv);
	CHECK(getsockopt(opts[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0);
	CHECK(tv.tv_sec == 5 && tv.tv_usec == 500000);
	CHECK(fcntl(dgram[0], F_GETFL) & O_NONBLOCK && !(fcntl(stream[0], F_GETFL) & O_NONBLOCK));
}

static void after(void)
{
	check_stream();
	check_messages();
	check_closed();
	check_options();
}

const struct test_case test_case = {
	.proves = "socket pairs keep data, message boundaries, closed ends and options",
	.criu_fails = "ECONNRESET, empty messages, SO_PEEK_OFF and dead datagram peers",
	.before = before,
	.after = after,
};
