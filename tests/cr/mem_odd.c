// SPDX-License-Identifier: MIT
/*
 * mem_odd.c - mappings that are seldom seen: /dev/zero both ways, droppable, low, without access,
 * stacks that grow next to their neighbours, files in removed directories, a file twice at
 * different offsets, a private mapping of a file that has become shorter.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

enum { PAGE = 4096 };

static char *zero_private, *zero_shared, *droppable, *low, *none, *stack_like;
static char *removed, *removed_shared;
static char *ends, *second;
static pid_t child;

static char *map(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	char *p = mmap(at, size, prot, flags, fd, offset);

	CHECK(p != MAP_FAILED);
	return p;
}

static int make_file(const char *name, size_t pages)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char page[PAGE];

	CHECK(fd >= 0);
	for (size_t i = 0; i < pages; i++) {
		memset(page, 'a' + i, PAGE);
		CHECK(write(fd, page, PAGE) == PAGE);
	}
	return fd;
}

static void map_removed(void)
{
	int fd;

	CHECK(mkdir(case_path("gone"), 0755) == 0 && mkdir(case_path("gone/deep"), 0755) == 0);
	fd = make_file("gone/deep/file", 3);
	removed = map(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	removed_shared = map(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	removed[PAGE] = 'R';
	removed_shared[2 * PAGE] = 'S';
	close(fd);
	CHECK(unlink(case_path("gone/deep/file")) == 0 && rmdir(case_path("gone/deep")) == 0 &&
	      rmdir(case_path("gone")) == 0);
}

static void map_file_ends(void)
{
	int fd = make_file("short", 4);

	ends = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	second = map(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
	ends[0] = 'E';
	CHECK(ftruncate(fd, 2 * PAGE) == 0);
	close(fd);
}

/* Room above and below belongs to others, as close as the kernel lets it grow. */
static void map_stack(void)
{
	char *room = map(NULL, 600 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(munmap(room + PAGE, 598 * PAGE) == 0);
	stack_like = map(room + 590 * PAGE, 9 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	for (int i = 8; i >= -20; i--)		/* beyond its start */
		stack_like[i * PAGE] = 's';
}

static void before(void)
{
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);

	zero_private = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
	zero_shared = map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
	close(zero);
	zero_private[PAGE] = 'z';
	zero_shared[PAGE] = 'Z';
	droppable = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1,
			 0);
	low = map(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		  -1, 0);
	low[0] = 'l';
	none = map(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(none, 'n', 2 * PAGE);
	CHECK(mprotect(none, 2 * PAGE, PROT_NONE) == 0);
	map_removed();
	map_file_ends();
	map_stack();
	child = fork();
	if (!child) {
		case_child_wait();
		CHECK(zero_shared[0] == 'c' && removed_shared[0] == 'c');
		_exit(0);
	}
}

/* The mapping at p has this of VmFlags. */
static bool has_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool mine = false, found = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = start <= (unsigned long)p && (unsigned long)p < end;
		if (mine && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, flag) != NULL;
	}
	if (f)
		fclose(f);
	return found;
}

/* Reading beyond the file's end is a SIGBUS. */
static bool faults(const char *p)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid)
		_exit(*(volatile const char *)p);
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status);
}

static void after(void)
{
	CHECK(zero_private[PAGE] == 'z' && zero_private[0] == 0 && zero_private[3 * PAGE] == 0);
	CHECK(zero_shared[PAGE] == 'Z' && zero_shared[3 * PAGE] == 0);
	CHECK(removed[0] == 'a' && removed[PAGE] == 'R' && removed[PAGE + 1] == 'b');
	CHECK(removed_shared[2 * PAGE] == 'S' && removed[2 * PAGE] == 'S');
	zero_shared[0] = removed_shared[0] = 'c';
	case_release();
	case_child_ok(child);
	if (droppable != MAP_FAILED)
		CHECK(has_flag(droppable, " dp"));
	CHECK((unsigned long)low < 1ul << 31 && low[0] == 'l' && low[PAGE] == 0);
	CHECK(faults(none) && mprotect(none, 2 * PAGE, PROT_READ) == 0 &&
	      none[2 * PAGE - 1] == 'n');
	CHECK(ends[0] == 'E' && ends[PAGE] == 'b' && second[0] == 'b' && faults(ends + 3 * PAGE));
	CHECK(has_flag(stack_like, " gd"));
	for (int i = 8; i >= -20; i--)
		CHECK(stack_like[i * PAGE] == 's');
	for (int i = -21; i >= -40; i--)
		stack_like[i * PAGE] = 't';		/* it grows still */
}

const struct test_case test_case = {
	.proves = "mappings that are seldom seen keep what they are and have",
	.before = before,
	.after = after,
};
