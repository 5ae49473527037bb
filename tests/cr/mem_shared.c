// SPDX-License-Identifier: MIT
/* mem_shared.c - anonymous shared memory, seen by several tasks. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { PAGE = 4096, PAGES = 64, KIDS = 3 };

static volatile unsigned char *anon;
static pid_t kids[KIDS];

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
	anon[n * PAGE + 1] = 70 + n;			/* the parent will look */
	exit(0);
}

static void before(void)
{
	anon = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(anon != MAP_FAILED);
	for (int i = 5 * PAGE; i < PAGES * PAGE; i++)
		anon[i] = pattern(i);
	for (int i = 0; i < KIDS; i++) {
		kids[i] = fork();
		if (kids[i] == 0)
			child_body(i);
	}
	case_children_wait(KIDS);
}

static void after(void)
{
	int bad = 0;

	for (int i = 5 * PAGE; i < PAGES * PAGE; i++)
		bad += anon[i] != pattern(i);
	CHECK(bad == 0);
	anon[KIDS * PAGE] = 99;
	case_release();
	for (int i = 0; i < KIDS; i++) {
		case_child_ok(kids[i]);
		CHECK(anon[i * PAGE + 1] == 70 + i);
	}
}

const struct test_case test_case = {
	.proves = "shared anonymous memory stays shared between tasks",
	.before = before,
	.after = after,
};
