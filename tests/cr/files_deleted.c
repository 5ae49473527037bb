// SPDX-License-Identifier: MIT
/* files_deleted.c - open files and mappings whose name is gone, one large and sparse. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static const off_t far_away = 20ll << 30;
static int small, twin, large, dir;
static char *mapped;

static void before(void)
{
	small = open(case_path("small"), O_RDWR | O_CREAT, 0604);
	CHECK(small >= 0 && write(small, "ghost", 5) == 5);
	twin = open(case_path("small"), O_RDONLY);
	CHECK(twin >= 0);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, small, 0);
	CHECK(mapped != MAP_FAILED);
	CHECK(unlink(case_path("small")) == 0);
	large = open(case_path("large"), O_RDWR | O_CREAT, 0600);
	CHECK(large >= 0 && pwrite(large, "begin", 5, 0) == 5);
	CHECK(pwrite(large, "end", 3, far_away) == 3);
	CHECK(unlink(case_path("large")) == 0);
	CHECK(mkdir(case_path("gone"), 0700) == 0);
	dir = open(case_path("gone"), O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0 && rmdir(case_path("gone")) == 0);
}

static void after(void)
{
	struct stat a, b;
	char text[8] = "";

	CHECK(fstat(small, &a) == 0 && fstat(twin, &b) == 0);
	CHECK(a.st_ino == b.st_ino && a.st_nlink == 0 && (a.st_mode & 0777) == 0604);
	CHECK(pread(twin, text, 5, 0) == 5 && !memcmp(text, "ghost", 5));
	mapped[0] = 'G';
	CHECK(pread(twin, text, 5, 0) == 5 && !memcmp(text, "Ghost", 5));
	CHECK(lseek(small, 0, SEEK_CUR) == 5);
	CHECK(access(case_path("small"), F_OK) < 0);
	CHECK(fstat(large, &a) == 0 && a.st_size == far_away + 3 && a.st_nlink == 0);
	CHECK(a.st_blocks < 1000);			/* the hole is a hole */
	CHECK(pread(large, text, 5, 0) == 5 && !memcmp(text, "begin", 5));
	CHECK(pread(large, text, 3, far_away) == 3 && !memcmp(text, "end", 3));
	CHECK(fstat(dir, &a) == 0 && a.st_nlink == 0 && S_ISDIR(a.st_mode));
}

const struct test_case test_case = {
	.proves = "deleted files keep their contents, holes, mode and sharing",
	.options = "--ghost-limit 64M",
	.before = before,
	.after = after,
};
