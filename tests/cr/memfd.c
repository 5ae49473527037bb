// SPDX-License-Identifier: MIT
/* memfd.c - a memfd with a seal, mapped in two tasks. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { PAGE = 4096, PAGES = 64 };

static volatile unsigned char *mem;
static pid_t child;
static int fd;

static unsigned char pattern(int i)
{
	return i * 13 + i / PAGE;
}

static void child_body(void)
{
	case_child_wait();
	mem[0] = 70;				/* the parent will look */
	exit(0);
}

static void before(void)
{
	fd = memfd_create("case", MFD_ALLOW_SEALING);
	CHECK(fd >= 0 && ftruncate(fd, PAGES * PAGE) == 0);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(mem != MAP_FAILED);
	for (int i = 0; i < PAGES * PAGE; i++)
		mem[i] = pattern(i);
	child = fork();
	if (child == 0)
		child_body();
}

static void after(void)
{
	unsigned char byte = 0;
	int bad = 0;

	for (int i = 0; i < PAGES * PAGE; i++)
		bad += mem[i] != pattern(i);
	CHECK(bad == 0);
	CHECK(pread(fd, &byte, 1, 5 * PAGE) == 1 && byte == pattern(5 * PAGE));
	CHECK(fcntl(fd, F_GET_SEALS) == F_SEAL_SHRINK);
	CHECK(ftruncate(fd, PAGE) < 0);
	case_release();
	case_child_ok(child);
	CHECK(mem[0] == 70);
}

const struct test_case test_case = {
	.proves = "a sealed memfd stays shared between tasks and keeps its seal",
	.before = before,
	.after = after,
};
