// SPDX-License-Identifier: MIT
/*
 * mem_maps.c - mappings of one task: protections, pieces, holes, advice,
 * locks, a growing stack, sparse and huge areas, private and shared file maps.
 *
 * What the kernel knows of them is compared as the lines of smaps that say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { PAGE = 4096, PIECES = 64, MARKS = 32 };

static char *pieces, *grows, *locked, *private_file, *shared_file, *beyond, *advised, *none;
static uint64_t *sparse;
static const size_t sparse_size = 64ull << 30;
static char *flags_then;

static char *map(size_t size, int prot, int flags, int fd)
{
	char *p = mmap(NULL, size, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void forget_flag(char *line, const char *flag)
{
	char *at = strstr(line, flag);

	if (at)
		memmove(at, at + 3, strlen(at + 3) + 1);
}

/* "start-end perms" and VmFlags of every mapping of ours. */
static char *mapping_flags(void)
{
	static char text[1 << 18];
	char line[512], range[64] = "";
	bool ours = false;
	size_t used = 0;
	FILE *f = fopen("/proc/self/smaps", "r");

	if (!CHECK(f))
		return strdup("");
	while (fgets(line, sizeof(line), f)) {
		unsigned long a, b;
		char perms[8];

		if (sscanf(line, "%lx-%lx %7s", &a, &b, perms) == 3) {
			snprintf(range, sizeof(range), "%lx-%lx %s", a, b, perms);
			/* these may grow between the two looks */
			ours = !strstr(line, "[heap]") && !strstr(line, "[stack]");
		}
		if (ours && !strncmp(line, "VmFlags:", 8)) {
			forget_flag(line, " sd");
			forget_flag(line, " ac");	/* was writable once */
			used += snprintf(text + used, sizeof(text) - used, "%s %s", range, line);
		}
	}
	fclose(f);
	return strdup(text);
}

static void make_files(void)
{
	char data[4 * PAGE];
	int fd = open(case_path("file"), O_RDWR | O_CREAT, 0644);

	memset(data, 'f', sizeof(data));
	CHECK(fd >= 0 && write(fd, data, sizeof(data)) == sizeof(data));
	private_file = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	shared_file = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	/* What has no pages to bring in is locked, but mlock says ENOMEM. */
	beyond = map(6 * PAGE, PROT_READ, MAP_SHARED, fd);
	CHECK(mlock(beyond, 6 * PAGE) == -1 && errno == ENOMEM);
	close(fd);
	memset(private_file + PAGE, 'p', PAGE);
	memset(shared_file + 2 * PAGE, 's', PAGE);
}

static void make_pieces(void)
{
	pieces = map(PIECES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < PIECES; i++)
		memset(pieces + i * PAGE, 'a' + i % 26, PAGE);
	for (int i = 0; i < PIECES; i += 4) {
		CHECK(mprotect(pieces + i * PAGE, PAGE, PROT_READ) == 0);
		CHECK(mprotect(pieces + (i + 1) * PAGE, PAGE, PROT_NONE) == 0);
		CHECK(munmap(pieces + (i + 2) * PAGE, PAGE) == 0);
	}
}

static void before(void)
{
	make_pieces();
	make_files();
	grows = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN,
		    -1);
	memset(grows, 'g', 8 * PAGE);
	locked = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	CHECK(mlock(locked, 4 * PAGE) == 0);
	CHECK(mprotect(locked + 12 * PAGE, 4 * PAGE, PROT_NONE) == 0);
	CHECK(mlock(locked + 12 * PAGE, 4 * PAGE) == -1 && errno == ENOMEM);
	advised = map(1 << 22, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	CHECK(madvise(advised, 1 << 20, MADV_DONTDUMP) == 0);
	CHECK(madvise(advised + (1 << 20), 1 << 20, MADV_DONTFORK) == 0);
	CHECK(madvise(advised + (2 << 20), 1 << 20, MADV_SEQUENTIAL) == 0);
	none = map(1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	sparse = (uint64_t *)map(sparse_size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	for (size_t i = 0; i < MARKS; i++)
		sparse[i * (sparse_size / MARKS / 8)] = i + 1000;
	flags_then = mapping_flags();
	free(flags_then);
	flags_then = mapping_flags();	/* now stdio has its buffers */
}

static void check_pieces(void)
{
	int bad = 0;

	for (int i = 0; i < PIECES; i++) {
		if (i % 4 == 1)
			CHECK(mprotect(pieces + i * PAGE, PAGE, PROT_READ) == 0);
		if (i % 4 != 2)
			for (int j = 0; j < PAGE; j++)
				bad += pieces[i * PAGE + j] != 'a' + i % 26;
	}
	CHECK(bad == 0);
}

static void check_files(void)
{
	char data[4 * PAGE];
	int fd = open(case_path("file"), O_RDONLY);

	CHECK(private_file[0] == 'f' && private_file[PAGE] == 'p' &&
	      shared_file[PAGE] == 'f' && shared_file[2 * PAGE] == 's');
	shared_file[3 * PAGE] = 'n';			/* shared still */
	private_file[0] = 'x';				/* private still */
	CHECK(fd >= 0 && read(fd, data, sizeof(data)) == sizeof(data));
	CHECK(data[3 * PAGE] == 'n' && data[0] == 'f' && data[PAGE] == 'f');
	close(fd);
}

static void after(void)
{
	char *now = mapping_flags();
	unsigned char in_core;

	if (!CHECK(!strcmp(now, flags_then))) {
		FILE *f = fopen(case_path("smaps-diff"), "w");

		fprintf(f, "%s\n------\n%s", flags_then, now);
		fclose(f);
	}
	CHECK(mincore(pieces + 2 * PAGE, PAGE, &in_core) < 0);	/* the hole is a hole */
	check_pieces();
	check_files();
	for (int i = 0; i < 8; i++)
		CHECK(grows[i * PAGE] == 'g');
	for (size_t i = 0; i < MARKS; i++)
		CHECK(sparse[i * (sparse_size / MARKS / 8)] == i + 1000 &&
		      sparse[i * (sparse_size / MARKS / 8) + 512] == 0);
}

const struct test_case test_case = {
	.proves = "mappings keep their ranges, protections, flags, advice and contents",
	.before = before,
	.after = after,
};
