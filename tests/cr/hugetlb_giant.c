// SPDX-License-Identifier: MIT
/*
 * hugetlb_giant.c - pages of 1 GiB: a memory file of one in two mappings, shared and private.
 *
 * Only what was written is stored of the former: hugetlbfs tells no holes.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../huge.h"

static char *shared, *other;
static int memory;

static void before(void)
{
	huge_reserve(GIANT, 1);
	memory = memfd_create("giant", MFD_HUGETLB | 30u << 26);
	CHECK(memory >= 0 && ftruncate(memory, GIANT) == 0);
	shared = mmap(NULL, GIANT, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	CHECK(shared != MAP_FAILED);
	other = mmap(NULL, GIANT, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, memory, 0);
	CHECK(other != MAP_FAILED);
	memset(shared + 5 * 4096, 'a', 4096);
	memset(shared + GIANT - 4096, 'z', 4096);
}

static void after(void)
{
	CHECK(shared[5 * 4096 - 1] == 0 && shared[5 * 4096] == 'a' && shared[6 * 4096] == 0);
	CHECK(shared[GIANT - 1] == 'z' && other[GIANT - 1] == 'z' && other[0] == 0);
	shared[0] = 'n';
	CHECK(other[0] == 'n');
	CHECK(munmap(shared, GIANT) == 0 && munmap(other, GIANT) == 0 && close(memory) == 0);
	huge_put_back();
}

const struct test_case test_case = {
	.proves = "memory files of 1 GiB pages keep contents and sharing",
	.criu_fails = "finds the device of 1 GiB pages only when one is free at its first start",
	.before = before,
	.after = after,
};
