// SPDX-License-Identifier: MIT
/*
 * epoll_dups.c - watches whose number was closed or means another file by now, one file watched
 * twice, a set in a set, EPOLLONESHOT that has reported.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../case.h"

static int outer, inner, moved, other, twice, again, shot[2], pairs[2][2], moved_socket;

static void ctl(int set, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };

	CHECK(epoll_ctl(set, op, fd, &e) == 0);
}

/* Which data are ready, as bits. */
static unsigned int ready(int set)
{
	struct epoll_event e[16];
	unsigned int seen = 0;
	int n = epoll_wait(set, e, 16, 0);

	for (int i = 0; i < n; i++)
		seen |= 1u << e[i].data.u64;
	return seen;
}

/* The same with sockets, which are told apart by their inodes. */
static void watch_sockets(void)
{
	int i;

	for (i = 0; i < 2; i++)
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]) == 0);
	ctl(inner, EPOLL_CTL_ADD, pairs[0][0], EPOLLIN, 6);
	moved_socket = dup(pairs[0][0]);
	CHECK(dup2(pairs[1][0], pairs[0][0]) == pairs[0][0]);
	ctl(inner, EPOLL_CTL_ADD, pairs[0][0], EPOLLIN, 7);
}

static void check_sockets(void)
{
	char byte;

	CHECK(write(pairs[0][1], "x", 1) == 1 && ready(inner) == 1 << 6);
	CHECK(write(pairs[1][1], "y", 1) == 1 && ready(inner) == (1 << 6 | 1 << 7));
	CHECK(read(moved_socket, &byte, 1) == 1 && byte == 'x');
	CHECK(read(pairs[1][0], &byte, 1) == 1 && byte == 'y' && ready(inner) == 0);
}

static void before(void)
{
	int old;

	inner = epoll_create1(0);
	outer = epoll_create1(0);
	ctl(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 0);
	/* watched under a number that another file has now */
	old = eventfd(0, EFD_NONBLOCK);
	ctl(inner, EPOLL_CTL_ADD, old, EPOLLIN, 1);
	moved = dup(old);
	other = eventfd(0, EFD_NONBLOCK);
	CHECK(dup2(other, old) == old);
	ctl(inner, EPOLL_CTL_ADD, old, EPOLLIN, 2);
	/* one file, two numbers */
	twice = eventfd(0, EFD_NONBLOCK);
	again = dup(twice);
	ctl(inner, EPOLL_CTL_ADD, twice, EPOLLIN, 3);
	ctl(inner, EPOLL_CTL_ADD, again, EPOLLIN, 4);
	watch_sockets();
	/* switched off, with something to report */
	CHECK(pipe(shot) == 0 && write(shot[1], "x", 1) == 1);
	ctl(inner, EPOLL_CTL_ADD, shot[0], EPOLLIN | EPOLLONESHOT, 5);
	CHECK(ready(inner) == 1 << 5);
}

static void after(void)
{
	uint64_t one = 1;

	CHECK(ready(inner) == 0 && ready(outer) == 0);
	CHECK(write(moved, &one, 8) == 8);
	CHECK(ready(outer) == 1 && ready(inner) == 1 << 1);
	CHECK(write(other, &one, 8) == 8 && ready(inner) == (1 << 1 | 1 << 2));
	CHECK(read(moved, &one, 8) == 8 && read(other, &one, 8) == 8);
	CHECK(write(twice, &one, 8) == 8 && ready(inner) == (1 << 3 | 1 << 4));
	CHECK(read(again, &one, 8) == 8 && ready(outer) == 0);
	check_sockets();
	close(shot[1]);
	CHECK(ready(inner) == 0);			/* hang-up, but switched off */
	ctl(inner, EPOLL_CTL_MOD, shot[0], EPOLLIN | EPOLLONESHOT, 5);
	CHECK(ready(inner) == 1 << 5);
}

const struct test_case test_case = {
	.proves = "epoll watches keep their files, however those are numbered now",
	.criu_fails = "CRIU 4.2 gives two watches of one file one number, and EPOLLONESHOT stays "
		      "on",
	.before = before,
	.after = after,
};
