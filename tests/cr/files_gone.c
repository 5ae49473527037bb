// SPDX-License-Identifier: MIT
/*
 * files_gone.c - names that are gone: with all links, with the directory, taken by another file or
 * a directory; a working directory that is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int deep, first, second, old, new, as_dir, taken, dir;

static int make(const char *name, const char *text)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT | O_EXCL, 0640);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static void has(int fd, const char *text)
{
	char buf[32] = "";

	CHECK(pread(fd, buf, sizeof(buf) - 1, 0) == (ssize_t)strlen(text) && !strcmp(buf, text));
}

static ino_t ino_of(int fd)
{
	struct stat st = { 0 };

	CHECK(fstat(fd, &st) == 0);
	return st.st_ino;
}

static nlink_t links_of(int fd)
{
	struct stat st = { 0 };

	CHECK(fstat(fd, &st) == 0);
	return st.st_nlink;
}

static void make_taken(void)
{
	old = make("again", "old");
	CHECK(unlink(case_path("again")) == 0);
	new = make("again", "new one");
	taken = make("dir", "was a file");
	CHECK(unlink(case_path("dir")) == 0 && mkdir(case_path("dir"), 0755) == 0);
	as_dir = open(case_path("dir"), O_RDONLY | O_DIRECTORY);
	CHECK(as_dir >= 0);
}

static void make_linked(void)
{
	first = make("one", "links");
	CHECK(link(case_path("one"), case_path("two")) == 0);
	second = open(case_path("two"), O_RDWR | O_APPEND);
	CHECK(second >= 0);
	CHECK(unlink(case_path("one")) == 0 && unlink(case_path("two")) == 0);
}

static void before(void)
{
	CHECK(mkdir(case_path("a"), 0755) == 0);
	dir = open(case_path("a"), O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0 && chdir(case_path("a")) == 0 && rmdir(case_path("a")) == 0);
	CHECK(mkdir(case_path("b"), 0755) == 0);
	deep = make("b/file", "deep");
	CHECK(unlink(case_path("b/file")) == 0 && rmdir(case_path("b")) == 0);
	make_taken();
	make_linked();
}

static void after_taken(void)
{
	struct stat st;

	has(old, "old");
	has(new, "new one");
	CHECK(links_of(old) == 0 && links_of(new) == 1);
	CHECK(stat(case_path("again"), &st) == 0 && st.st_ino == ino_of(new));
	has(taken, "was a file");
	CHECK(stat(case_path("dir"), &st) == 0 && st.st_ino == ino_of(as_dir));
	CHECK(S_ISDIR(st.st_mode) && links_of(taken) == 0);
}

static void after(void)
{
	has(deep, "deep");
	CHECK(links_of(deep) == 0 && links_of(dir) == 0);
	CHECK(access(case_path("a"), F_OK) < 0 && access(case_path("b"), F_OK) < 0);
	CHECK(openat(AT_FDCWD, "new", O_WRONLY | O_CREAT, 0600) < 0 && errno == ENOENT);
	after_taken();
	has(first, "links");
	CHECK(ino_of(first) == ino_of(second) && links_of(first) == 0);
	CHECK(write(second, "+", 1) == 1);
	has(first, "links+");
	CHECK(access(case_path("one"), F_OK) < 0 && access(case_path("two"), F_OK) < 0);
}

const struct test_case test_case = {
	.proves = "files whose names or directories are gone or taken are the same files",
	.before = before,
	.after = after,
};
