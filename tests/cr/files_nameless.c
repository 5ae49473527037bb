// SPDX-License-Identifier: MIT
/*
 * files_nameless.c - a file that never had a name (O_TMPFILE) and may still get one; removed
 * directories in removed directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int temp, again, deep, upper, lower;

static void before(void)
{
	char path[64];

	temp = open(case_path("."), O_TMPFILE | O_RDWR | O_APPEND, 0640);
	CHECK(temp >= 0 && write(temp, "no name", 7) == 7);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", temp);
	again = open(path, O_RDONLY);
	CHECK(again >= 0 && mkdir(case_path("a"), 0755) == 0 && mkdir(case_path("a/b"), 0755) == 0);
	deep = open(case_path("a/b/file"), O_RDWR | O_CREAT, 0600);
	upper = open(case_path("a"), O_RDONLY | O_DIRECTORY);
	lower = open(case_path("a/b"), O_RDONLY | O_DIRECTORY);
	CHECK(deep >= 0 && upper >= 0 && lower >= 0 && write(deep, "deep", 4) == 4);
	CHECK(chdir(case_path("a/b")) == 0);
	CHECK(unlink(case_path("a/b/file")) == 0 && rmdir(case_path("a/b")) == 0 &&
	      rmdir(case_path("a")) == 0);
}

static nlink_t links_of(int fd)
{
	struct stat st = { 0 };

	CHECK(fstat(fd, &st) == 0);
	return st.st_nlink;
}

static void after(void)
{
	char text[16] = "", path[64];

	CHECK(pread(deep, text, 8, 0) == 4 && !strcmp(text, "deep"));
	CHECK(links_of(deep) == 0 && links_of(upper) == 0 && links_of(lower) == 0);
	CHECK(access(case_path("a"), F_OK) < 0);
	CHECK(openat(AT_FDCWD, "new", O_WRONLY | O_CREAT, 0600) < 0 && errno == ENOENT);
	CHECK(fcntl(temp, F_GETFL) & O_APPEND);
	CHECK(lseek(temp, 0, SEEK_SET) == 0 && write(temp, "!", 1) == 1);
	CHECK(pread(again, text, 15, 0) == 8 && !strcmp(text, "no name!"));
	CHECK(links_of(temp) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", temp);
	CHECK(linkat(AT_FDCWD, path, AT_FDCWD, case_path("named"), AT_SYMLINK_FOLLOW) == 0);
	CHECK(links_of(again) == 1);
}

const struct test_case test_case = {
	.proves = "a file without a name may still get one; removed directories nest",
	.criu_fails = "it names such files in the file system, and nested directories not at all",
	.before = before,
	.after = after,
};
