// SPDX-License-Identifier: MIT
/* mem_shared.c - anonymous shared memory and a memfd, seen by several tasks. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { PAGE = 4096, PAGES = 64, KIDS = 3 };

static volatile unsigned char *anon, *mem;
static pid_t kids[KIDS];
static int memfd;

static unsigned char pattern(int i)
{
	return i * 13 + i / PAGE;
}

static void child_body(int n)
{
	anon[n * PAGE] = 50 + n;
	case_child_wait();
	CHECK(anon[KIDS * PAGE] == 99);			/* the parent wrote it after the thaw */
	for (int i = 0; i < KIDS; i++)
		CHECK(anon[i * PAGE] == 50 + i);
	mem[n * PAGE] = 70 + n;				/* the parent will look */
	exit(0);
}

static void before(void)
{
	anon = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memfd = memfd_create("case", MFD_ALLOW_SEALING);
	CHECK(anon != MAP_FAILED && memfd >= 0 && ftruncate(memfd, PAGES * PAGE) == 0);
	CHECK(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	CHECK(mem != MAP_FAILED);
	for (int i = 5 * PAGE; i < PAGES * PAGE; i++)
		anon[i] = mem[i] = pattern(i);
	for (int i = 0; i < KIDS; i++) {
		kids[i] = fork();
		if (kids[i] == 0)
			child_body(i);
	}
	case_sleep_ms(50);
}

static void after(void)
{
	unsigned char byte = 0;
	int bad = 0;

	for (int i = 5 * PAGE; i < PAGES * PAGE; i++)
		bad += anon[i] != pattern(i) || mem[i] != pattern(i);
	CHECK(bad == 0);
	CHECK(pread(memfd, &byte, 1, 5 * PAGE) == 1 && byte == pattern(5 * PAGE));
	CHECK(fcntl(memfd, F_GET_SEALS) == F_SEAL_SHRINK);
	CHECK(ftruncate(memfd, PAGE) < 0);
	anon[KIDS * PAGE] = 99;
	case_release();
	for (int i = 0; i < KIDS; i++) {
		case_child_ok(kids[i]);
		CHECK(mem[i * PAGE] == 70 + i);
	}
}

const struct test_case test_case = {
	.proves = "shared anonymous memory and a sealed memfd stay shared between tasks",
	.before = before,
	.after = after,
};
