// SPDX-License-Identifier: MIT
/*
 * mem_cow.c - pages that a child shares with its parent until one writes.
 *
 * Contents alone do not show whether they are still one page: the page frame
 * numbers in /proc/PID/pagemap do.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { PAGE = 4096, PAGES = 256 };

static unsigned char *area;
static pid_t child;

static uint64_t frame(pid_t pid, void *address)
{
	uint64_t entry = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 &&
	      pread(fd, &entry, 8, (uintptr_t)address / PAGE * 8) == 8);
	close(fd);
	return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

static void child_body(void)
{
	for (int i = 0; i < PAGES; i += 8)
		area[i * PAGE] = 0xcc;
	case_child_wait();
	for (int i = 0; i < PAGES; i++)
		CHECK(area[i * PAGE] == (i % 8 ? (i & 0x7f) + 1 : 0xcc));
	exit(0);
}

static int count_shared(void)
{
	int shared = 0;

	for (int i = 0; i < PAGES; i++) {
		uint64_t mine = frame(getpid(), area + i * PAGE);

		shared += mine && mine == frame(child, area + i * PAGE);
	}
	return shared;
}

static void before(void)
{
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	CHECK(madvise(area, PAGES * PAGE, MADV_NOHUGEPAGE) == 0);
	for (int i = 0; i < PAGES; i++)
		memset(area + i * PAGE, (i & 0x7f) + 1, PAGE);
	child = fork();
	if (child == 0)
		child_body();
	case_children_wait(1);
	CHECK(count_shared() == PAGES - PAGES / 8);
}

static void after(void)
{
	CHECK(count_shared() == PAGES - PAGES / 8);
	area[PAGE] = 0xee;				/* must not reach the child */
	CHECK(frame(getpid(), area + PAGE) != frame(child, area + PAGE));
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "parent and child still share the pages neither has written",
	.needs_root = true,				/* frame numbers need CAP_SYS_ADMIN */
	.before = before,
	.after = after,
};
