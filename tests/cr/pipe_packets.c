// SPDX-License-Identifier: MIT
/* pipe_packets.c - pipes in packet mode: every read is one packet, also after a thaw. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int packets[2], mixed[2], full[2], one[2], was[2], stream[2], fifo_r, fifo_w, nfull;
static char big[10000];

static void mode(int fd, int bits)
{
	CHECK(fcntl(fd, F_SETFL, O_NONBLOCK | bits) == 0);
}

static void before(void)
{
	for (int i = 0; i < (int)sizeof(big); i++)
		big[i] = 'a' + i % 23;
	CHECK(pipe2(packets, O_DIRECT | O_NONBLOCK) == 0);
	CHECK(write(packets[1], "first", 5) == 5 && write(packets[1], "x", 1) == 1);
	CHECK(write(packets[1], "y", 1) == 1 && write(packets[1], big, sizeof(big)) == sizeof(big));
	CHECK(write(packets[1], "last", 4) == 4);

	CHECK(pipe2(one, O_DIRECT | O_NONBLOCK) == 0);
	CHECK(pipe2(mixed, O_NONBLOCK) == 0 && write(mixed[1], "str", 3) == 3);
	CHECK(tee(mixed[0], one[1], 3, 0) == 3 && splice(one[0], NULL, mixed[1], NULL, 3, 0) == 3);
	mode(mixed[1], O_DIRECT);
	CHECK(write(mixed[1], "packet", 6) == 6);
	mode(mixed[1], 0);
	CHECK(write(mixed[1], big, 5000) == 5000);
	mode(mixed[1], O_DIRECT);

	CHECK(pipe2(full, O_DIRECT | O_NONBLOCK) == 0 &&
	      fcntl(full[1], F_SETPIPE_SZ, 65536) == 65536);
	while (write(full[1], big + nfull, 1) == 1)
		nfull++;
	CHECK(errno == EAGAIN && nfull == 16);

	CHECK(write(one[1], "single", 6) == 6);
	CHECK(pipe2(was, O_DIRECT | O_NONBLOCK) == 0 && write(was[1], "gone", 4) == 4);
	CHECK(write(was[1], "writer", 6) == 6 && close(was[1]) == 0);
	CHECK(pipe2(stream, O_NONBLOCK) == 0);
	while (write(stream[1], big, 4096) == 4096)
		;
	CHECK(mkfifo(case_path("fifo"), 0600) == 0);
	fifo_r = open(case_path("fifo"), O_RDONLY | O_NONBLOCK);
	fifo_w = open(case_path("fifo"), O_WRONLY | O_NONBLOCK);
	mode(fifo_w, O_DIRECT);
	CHECK(write(fifo_w, "fifo", 4) == 4 && write(fifo_w, "packets", 7) == 7);
}

/* The next read, with room for more, gives exactly this. */
static void expect(int fd, const char *text, int n)
{
	static char buf[20000];

	CHECK(read(fd, buf, sizeof(buf)) == n && !memcmp(buf, text, n));
}

static void expect_empty(int fd)
{
	char c;

	CHECK(read(fd, &c, 1) < 0 && errno == EAGAIN);
}

static void check_mixed(void)
{
	char buf[20];

	CHECK(read(mixed[0], buf, 4) == 4 && !memcmp(buf, "strs", 4));
	expect(mixed[0], "trpacket", 8);	/* the kernel's way: up to the packet's end */
	expect(mixed[0], big, 5000);
	expect_empty(mixed[0]);
}

static void after(void)
{
	char c[4];

	CHECK((fcntl(packets[1], F_GETFL) & O_DIRECT) && !(fcntl(packets[0], F_GETFL) & O_DIRECT));
	expect(packets[0], "first", 5);
	expect(packets[0], "x", 1);
	expect(packets[0], "y", 1);
	expect(packets[0], big, 4096);
	expect(packets[0], big + 4096, 4096);
	expect(packets[0], big + 8192, sizeof(big) - 8192);
	CHECK(read(packets[0], c, 2) == 2 && !memcmp(c, "la", 2));	/* the rest is dropped */
	expect_empty(packets[0]);
	check_mixed();
	CHECK(write(full[1], "x", 1) < 0 && errno == EAGAIN);
	for (int i = 0; i < nfull; i++)
		expect(full[0], big + i, 1);
	expect_empty(full[0]);
	CHECK(write(one[1], "more", 4) == 4);
	expect(one[0], "single", 6);
	expect(one[0], "more", 4);
	expect(was[0], "gone", 4);
	expect(was[0], "writer", 6);
	CHECK(read(was[0], c, 1) == 0);
	for (int i = 0; i < 16; i++)
		CHECK(read(stream[0], (char[4096]){ 0 }, 4096) == 4096);
	expect_empty(stream[0]);
	CHECK((fcntl(fifo_w, F_GETFL) & (O_DIRECT | O_NONBLOCK)) == (O_DIRECT | O_NONBLOCK));
	expect(fifo_r, "fifo", 4);
	expect(fifo_r, "packets", 7);
}

const struct test_case test_case = {
	.proves = "pipes in packet mode keep the borders of their packets",
	.criu_fails = "CRIU refuses pipes in packet mode",
	.before = before,
	.after = after,
};
