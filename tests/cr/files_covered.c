// SPDX-License-Identifier: MIT
/*
 * files_covered.c - open files, a working directory and a mapping below a mount that covers them.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int file, dir, other, on_top;
static char *mapped;
static struct stat was[3];

static void before(void)
{
	CHECK(mkdir(case_path("d"), 0755) == 0 && mkdir(case_path("d/e"), 0755) == 0);
	file = open(case_path("d/e/file"), O_RDWR | O_CREAT, 0644);
	CHECK(file >= 0 && write(file, "below", 5) == 5);
	dir = open(case_path("d"), O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0 && chdir(case_path("d/e")) == 0);
	other = open(case_path("one"), O_RDONLY | O_CREAT, 0644);
	mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
	CHECK(other >= 0 && mapped != MAP_FAILED);
	CHECK(fstat(file, &was[0]) == 0 && fstat(dir, &was[1]) == 0 && fstat(other, &was[2]) == 0);
	CHECK(mount("none", case_path("d"), "tmpfs", 0, "size=64k") == 0);
	on_top = open(case_path("d/file"), O_RDWR | O_CREAT, 0644);
	CHECK(on_top >= 0 && write(on_top, "above", 5) == 5);
	/* A single file covered by another one. */
	CHECK(mount(case_path("d/file"), case_path("one"), NULL, MS_BIND, NULL) == 0);
}

static bool same(int fd, const struct stat *st)
{
	struct stat now;

	return fstat(fd, &now) == 0 && now.st_ino == st->st_ino && now.st_dev == st->st_dev;
}

static void after(void)
{
	char text[8] = "";
	struct stat st;

	CHECK(same(file, &was[0]) && same(dir, &was[1]) && same(other, &was[2]));
	CHECK(pread(file, text, 8, 0) == 5 && !memcmp(text, "below", 5));
	CHECK(!memcmp(mapped, "below", 5));
	CHECK(pread(on_top, text, 8, 0) == 5 && !memcmp(text, "above", 5));
	CHECK(stat("file", &st) == 0 && st.st_ino == was[0].st_ino);
	CHECK(fstatat(dir, "e/file", &st, 0) == 0 && st.st_ino == was[0].st_ino);
	CHECK(umount2(case_path("one"), MNT_DETACH) == 0);
	CHECK(umount2(case_path("d"), MNT_DETACH) == 0);
	CHECK(stat(case_path("d/e/file"), &st) == 0 && st.st_ino == was[0].st_ino);
}

const struct test_case test_case = {
	.proves = "files below a mount that covers them are the same files",
	.criu_fails = "it looks for them in what covers them",
	.needs_root = true,
	.before = before,
	.after = after,
};
