// SPDX-License-Identifier: MIT
/* pipes.c - pipes and FIFOs: bytes inside, size, flags, ends in other tasks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

enum { BIG = 200000 };

static int big[2], full[2], closed[2], to_child[2], fifo_r, fifo_w, gone_r, gone_w;
static pid_t child;

static void child_body(void)
{
	char text[10] = "";

	close(to_child[1]);
	case_child_wait();
	CHECK(read(to_child[0], text, 9) == 5 && !strcmp(text, "hello"));
	CHECK(read(to_child[0], text, 9) == 0);		/* the parent closed its end */
	exit(0);
}

static void make_fifo(const char *name, int *r, int *w)
{
	CHECK(mkfifo(case_path(name), 0600) == 0);
	*r = open(case_path(name), O_RDONLY | O_NONBLOCK);
	*w = open(case_path(name), O_WRONLY);
	CHECK(*r >= 0 && *w >= 0);
}

static void before(void)
{
	static char bytes[BIG];

	CHECK(pipe2(big, O_CLOEXEC) == 0 && fcntl(big[1], F_SETPIPE_SZ, 1 << 18) == 1 << 18);
	for (int i = 0; i < BIG; i++)
		bytes[i] = i * 31;
	CHECK(write(big[1], bytes, BIG) == BIG);
	CHECK(pipe2(full, O_NONBLOCK) == 0 && fcntl(full[1], F_SETPIPE_SZ, 4096) == 4096);
	while (write(full[1], "x", 1) == 1)
		;
	CHECK(errno == EAGAIN);
	CHECK(pipe(closed) == 0 && write(closed[1], "rest", 4) == 4 && close(closed[1]) == 0);
	CHECK(pipe(to_child) == 0);
	make_fifo("fifo", &fifo_r, &fifo_w);
	CHECK(write(fifo_w, "fifo bytes", 10) == 10);
	make_fifo("gone", &gone_r, &gone_w);
	CHECK(write(gone_w, "ghost", 5) == 5 && unlink(case_path("gone")) == 0);
	child = fork();
	if (child == 0)
		child_body();
	close(to_child[0]);
}

static void check_big(void)
{
	static char bytes[BIG + 1];
	int got = 0, n;

	CHECK(fcntl(big[0], F_GETPIPE_SZ) == 1 << 18 && fcntl(big[0], F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(big[0], F_SETFL, O_NONBLOCK) == 0);
	while ((n = read(big[0], bytes + got, sizeof(bytes) - got)) > 0)
		got += n;
	CHECK(got == BIG);
	for (int i = 0; i < BIG; i++)
		if (!CHECK(bytes[i] == (char)(i * 31)))
			break;
}

static void after(void)
{
	char text[16] = "";

	check_big();
	CHECK(fcntl(full[1], F_GETPIPE_SZ) == 4096 && (fcntl(full[1], F_GETFL) & O_NONBLOCK));
	CHECK(write(full[1], "x", 1) < 0 && errno == EAGAIN);
	CHECK(read(closed[0], text, 16) == 4 && !memcmp(text, "rest", 4));
	CHECK(read(closed[0], text, 16) == 0);
	CHECK(read(fifo_r, text, 16) == 10 && !memcmp(text, "fifo bytes", 10));
	CHECK(read(fifo_r, text, 16) < 0 && errno == EAGAIN);
	CHECK(read(gone_r, text, 16) == 5 && !memcmp(text, "ghost", 5));
	CHECK(write(gone_w, "new", 3) == 3 && read(gone_r, text, 16) == 3);
	CHECK(write(to_child[1], "hello", 5) == 5 && close(to_child[1]) == 0);
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "pipes and FIFOs keep their bytes, size, flags and ends",
	.before = before,
	.after = after,
};
