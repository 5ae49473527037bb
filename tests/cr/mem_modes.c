// SPDX-License-Identifier: MIT
/*
 * mem_modes.c - what a task has set for its whole address space: mlockall of what will be mapped,
 * at once or on a fault, pages to be merged, transparent huge pages only where advised, no memory
 * that is writable and executable. A child for each; one without any.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../case.h"

#define SET_MDWE 65
#define GET_MDWE 66
#define SET_MERGE 67
#define GET_MERGE 68
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

enum { FUTURE, ON_FAULT, MERGE, ADVISED, MDWE, NOTHING, KINDS, SIZE = 1 << 16 };

static pid_t child[KINDS];

/* What smaps tells of a new mapping: locked, and how much of it is there. */
static bool new_mapping(bool *locked, long *kb)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool mine = false;
	char line[512];

	*locked = false;
	*kb = -1;
	if (!CHECK(p != MAP_FAILED) || !CHECK(f))
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = start == (unsigned long)p;
		if (mine)
			sscanf(line, "Rss: %ld", kb);
		if (mine && !strncmp(line, "VmFlags:", 8))
			*locked = strstr(line, " lo");
	}
	fclose(f);
	munmap(p, SIZE);
	return true;
}

/* Returns false when the kernel does not have it. */
static bool set(int kind)
{
	switch (kind) {
	case FUTURE:
		return mlockall(MCL_FUTURE) == 0;
	case ON_FAULT:
		return mlockall(MCL_FUTURE | MCL_ONFAULT) == 0;
	case MERGE:
		return prctl(SET_MERGE, 1, 0, 0, 0) == 0;
	case ADVISED:
		return prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) == 0;
	case MDWE:
		return prctl(SET_MDWE, 1, 0, 0, 0) == 0;
	}
	return true;
}

static void look(int kind, bool have)
{
	bool locked;
	long kb;

	if (!new_mapping(&locked, &kb))
		return;
	CHECK(locked == (have && (kind == FUTURE || kind == ON_FAULT)));
	CHECK(kb == (have && kind == FUTURE ? SIZE / 1024 : 0));
	if (have && kind != NOTHING)
		CHECK(kind == FUTURE || kind == ON_FAULT ||
		      prctl(GET_MERGE, 0, 0, 0, 0) == (kind == MERGE));
	CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == (have && kind == ADVISED ? 3 : 0));
	if (have && kind == MDWE)
		CHECK(mmap(NULL, SIZE, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0) == MAP_FAILED && errno == EACCES);
	CHECK(prctl(GET_MDWE, 0, 0, 0, 0) <= (have && kind == MDWE));
}

static void child_main(int kind)
{
	bool have = set(kind);

	look(kind, have);
	case_child_wait();
	look(kind, have);
	exit(0);
}

static void before(void)
{
	for (int i = 0; i < KINDS; i++) {
		child[i] = fork();
		if (!child[i])
			child_main(i);
		CHECK(child[i] > 0);
	}
	case_children_wait(KINDS);
}

static void after(void)
{
	case_release();
	for (int i = 0; i < KINDS; i++)
		case_child_ok(child[i]);
}

const struct test_case test_case = {
	.proves = "settings of a whole address space come back",
	.criu_fails = "does not record them, but for disabled huge pages",
	.before = before,
	.after = after,
};
