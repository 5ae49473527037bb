/* SPDX-License-Identifier: MIT */
/*
 * huge.h - for cases with huge pages (hugetlbfs): reserve some, put the number back, look at
 * mappings.
 */
#ifndef TESTS_HUGE_H
#define TESTS_HUGE_H

#include <stdio.h>

#include "case.h"

#define HUGE (2ul << 20)
#define GIANT (1ul << 30)

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4
#endif

static struct {
	size_t size;
	long before;			/* -1: nothing was changed */
} huge_reserved = { 0, -1 };

/* Read a number of that page size's, or write it (set >= 0). -1: not possible. */
static inline long huge_number(size_t size, const char *name, long set)
{
	char path[96];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%zukB/%s", size >> 10,
		 name);
	f = fopen(path, set < 0 ? "re" : "we");
	if (!f)
		return -1;
	if (set >= 0)
		fprintf(f, "%ld\n", set);
	else if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}

static inline void huge_put_back(void)
{
	if (huge_reserved.before >= 0)
		huge_number(huge_reserved.size, "nr_hugepages", huge_reserved.before);
	huge_reserved.before = -1;
}

/* Have n free pages of this size, or skip the case. */
static inline void huge_reserve(size_t size, long n)
{
	if (huge_number(size, "free_hugepages", -1) < n) {
		huge_reserved.size = size;
		huge_reserved.before = huge_number(size, "nr_hugepages", -1);
		huge_number(size, "nr_hugepages", huge_reserved.before + n);
	}
	if (huge_number(size, "free_hugepages", -1) >= n)
		return;
	huge_put_back();
	case_skip("too few huge pages are reserved, and no more can be (nr_hugepages)");
}

/* The page size of the mapping that has p. */
static inline size_t huge_page_size(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool mine = false;
	char line[512];
	size_t kb = 0;

	while (f && !kb && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = start <= (unsigned long)p && (unsigned long)p < end;
		if (mine)
			sscanf(line, "KernelPageSize: %zu", &kb);
	}
	if (f)
		fclose(f);
	return kb << 10;
}

#endif
