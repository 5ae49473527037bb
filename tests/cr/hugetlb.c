// SPDX-License-Identifier: MIT
/*
 * hugetlb.c - mappings of huge pages (hugetlbfs): private ones that parent and child share or have
 * written to since, shared ones, memory files with shared and private mappings, a file of a
 * mounted hugetlbfs (as root), read-only ones, and holes.
 *
 * Reserves the pages it needs and puts the number back.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../huge.h"

static char *own, *differs, *common, *hole, *readonly, *file_shared, *file_private, *mounted;
static int memory = -1;
static pid_t child;

static char *map(size_t size, int flags, int fd)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void make_memory_file(void)
{
	memory = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
	CHECK(memory >= 0 && ftruncate(memory, 3 * HUGE) == 0);
	file_shared = map(3 * HUGE, MAP_SHARED, memory);
	memset(file_shared, 's', HUGE);
	file_shared[2 * HUGE + 4096] = 'h';		/* the page between is a hole */
	file_private = map(3 * HUGE, MAP_PRIVATE, memory);
	memset(file_private, 'p', 4096);
	CHECK(fcntl(memory, F_ADD_SEALS, F_SEAL_GROW) == 0);
}

/* A file that has a name, on a hugetlbfs somebody mounted. */
static void make_mounted(void)
{
	int fd;

	if (geteuid())
		return;
	CHECK(mkdir(case_path("huge"), 0755) == 0);
	CHECK(mount("none", case_path("huge"), "hugetlbfs", 0, "pagesize=2M") == 0);
	fd = open(case_path("huge/file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, HUGE) == 0);
	mounted = map(HUGE, MAP_SHARED, fd);
	memset(mounted, 'm', HUGE);
	close(fd);
}

static bool filled(const char *p, char c, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != c)
			return false;
	return true;
}

static void child_main(void)
{
	memset(differs, 'D', 4096);
	memset(common, 'c', HUGE);
	CHECK(close(memory) == 0);
	case_child_wait();
	CHECK(filled(own, 'o', 2 * HUGE));
	CHECK(filled(differs, 'D', 4096) && filled(differs + 4096, 'd', HUGE - 4096));
	CHECK(filled(common, 'C', 1) && filled(common + 1, 'c', HUGE - 1));
	CHECK(file_shared[1] == 'S');
	_exit(0);
}

static void before(void)
{
	huge_reserve(HUGE, 40);
	own = map(2 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	memset(own, 'o', 2 * HUGE);
	differs = map(HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	memset(differs, 'd', HUGE);
	common = map(2 * HUGE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	hole = map(4 * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 21 << 26, -1);
	memset(hole + 2 * HUGE, 'x', 1);
	readonly = map(HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	memset(readonly, 'r', HUGE);
	CHECK(mprotect(readonly, HUGE, PROT_READ) == 0);
	make_memory_file();
	make_mounted();
	child = fork();
	if (!child)
		child_main();
	CHECK(child > 0);
	case_children_wait(1);
}

static void check_file(void)
{
	struct stat st;
	char byte;

	CHECK(fstat(memory, &st) == 0 && st.st_size == (off_t)(3 * HUGE));
	CHECK(fcntl(memory, F_GET_SEALS) == F_SEAL_GROW);
	CHECK(filled(file_shared + 2, 's', HUGE - 2) && filled(file_shared + HUGE, 0, HUGE));
	CHECK(file_shared[2 * HUGE + 4096] == 'h');
	CHECK(filled(file_private, 'p', 4096) && filled(file_private + 4096, 's', HUGE - 4096));
	file_shared[2 * HUGE] = 'w';
	CHECK(pread(memory, &byte, 1, 2 * HUGE) == 1 && byte == 'w');	/* the same object */
	CHECK(file_private[2 * HUGE] == 'w');
	CHECK(huge_page_size(file_shared) == HUGE && huge_page_size(file_private) == HUGE);
}

static void check_mounted(void)
{
	if (!mounted)
		return;
	CHECK(filled(mounted, 'm', HUGE) && huge_page_size(mounted) == HUGE);
	CHECK(munmap(mounted, HUGE) == 0 && unlink(case_path("huge/file")) == 0);
	CHECK(umount2(case_path("huge"), MNT_DETACH) == 0);
}

static void after(void)
{
	CHECK(filled(own, 'o', 2 * HUGE) && filled(differs, 'd', HUGE));
	CHECK(huge_page_size(own) == HUGE && huge_page_size(common) == HUGE &&
	      huge_page_size(hole) == HUGE);
	CHECK(filled(common, 'c', HUGE) && filled(common + HUGE, 0, HUGE));
	CHECK(hole[2 * HUGE] == 'x' && filled(hole, 0, 2 * HUGE) &&
	      filled(hole + 3 * HUGE, 0, HUGE));
	CHECK(filled(readonly, 'r', HUGE));
	common[0] = 'C';
	file_shared[1] = 'S';
	case_release();
	case_child_ok(child);
	check_file();
	check_mounted();
	CHECK(fallocate(memory, 0, 0, HUGE) == 0);
	huge_put_back();
}

const struct test_case test_case = {
	.proves = "mappings and memory files of huge pages keep contents, sharing and page size",
	.before = before,
	.after = after,
};
