// SPDX-License-Identifier: MIT
/*
 * files_overlay.c - open files of an overlay: lower, upper, copied up meanwhile, deleted, mapped.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int lower, upper, copied, gone, gone_upper, dir, removed, linked;
static char *mapped;

static int make(const char *name, int flags)
{
	int fd = open(case_path(name), O_RDWR | flags, 0644);

	CHECK(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	return fd;
}

static int open_read(const char *name)
{
	int fd = open(case_path(name), O_RDONLY);

	CHECK(fd >= 0);
	return fd;
}

static void mount_overlay(void)
{
	static const char *const dirs[] = { "low", "up", "work", "all", "low/dir", "low/rm" };
	static const char *const files[] = {
		"low/lower", "low/copied", "low/gone", "low/link1", "low/dir/file",
	};
	char options[900];
	size_t i;

	for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		CHECK(mkdir(case_path(dirs[i]), 0755) == 0);
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		close(make(files[i], O_CREAT));
	CHECK(link(case_path("low/link1"), case_path("low/link2")) == 0);
	i = snprintf(options, sizeof(options), "lowerdir=%s,", case_path("low"));
	i += snprintf(options + i, sizeof(options) - i, "upperdir=%s,", case_path("up"));
	snprintf(options + i, sizeof(options) - i, "workdir=%s", case_path("work"));
	if (mount("overlay", case_path("all"), "overlay", 0, options) < 0)
		case_skip("no overlay file system");
}

static void before(void)
{
	mount_overlay();
	lower = open_read("all/lower");
	mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, lower, 0);
	CHECK(mapped != MAP_FAILED);
	upper = make("all/upper", O_CREAT);
	copied = open_read("all/copied");
	close(make("all/copied", O_APPEND));
	gone = open_read("all/gone");
	CHECK(unlink(case_path("all/gone")) == 0);
	gone_upper = make("all/gone2", O_CREAT);
	CHECK(unlink(case_path("all/gone2")) == 0);
	dir = open(case_path("all/dir"), O_RDONLY | O_DIRECTORY);
	removed = open(case_path("all/rm"), O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0 && removed >= 0 && rmdir(case_path("all/rm")) == 0);
	linked = open_read("all/link1");
	CHECK(unlink(case_path("all/link1")) == 0);
	CHECK(chdir(case_path("all/dir")) == 0);
}

static void has(int fd, const char *text)
{
	char buf[32] = "";

	CHECK(pread(fd, buf, sizeof(buf) - 1, 0) > 0 && strcmp(buf, text) == 0);
}

static void after(void)
{
	struct stat a, b;

	has(lower, "low/lower");
	CHECK(!memcmp(mapped, "low/lower", 9));
	has(upper, "all/upper");
	CHECK(write(upper, "+", 1) == 1);
	has(upper, "all/upper+");
	CHECK(fstat(copied, &a) == 0 && stat(case_path("all/copied"), &b) == 0 &&
	      a.st_ino == b.st_ino);
	has(gone, "low/gone");
	has(gone_upper, "all/gone2");
	has(linked, "low/link1");
	CHECK(access(case_path("all/gone"), F_OK) < 0 && access(case_path("all/link1"), F_OK) < 0);
	CHECK(fstatat(dir, "file", &a, 0) == 0 && stat("file", &b) == 0 && a.st_ino == b.st_ino);
	CHECK(fstat(removed, &a) == 0 && S_ISDIR(a.st_mode));
	CHECK(access(case_path("all/rm"), F_OK) < 0);
	CHECK(umount2(case_path("all"), MNT_DETACH) == 0);
}

const struct test_case test_case = {
	.proves = "open files of an overlay are found again, also those that are deleted there",
	.options = "--link-remap",
	.criu_fails = "it links a file of a lower layer, which cannot be linked",
	.needs_root = true,
	.before = before,
	.after = after,
};
