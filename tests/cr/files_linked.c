// SPDX-License-Identifier: MIT
/* files_linked.c - a deleted open file that has another name still. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int fd;

static void before(void)
{
	fd = open(case_path("first"), O_RDWR | O_CREAT, 0644);
	CHECK(fd >= 0 && write(fd, "linked", 6) == 6);
	CHECK(link(case_path("first"), case_path("second")) == 0);
	CHECK(unlink(case_path("first")) == 0);
}

static void after(void)
{
	struct stat a, b;
	struct dirent *e;
	DIR *d;

	CHECK(fstat(fd, &a) == 0 && stat(case_path("second"), &b) == 0);
	CHECK(a.st_ino == b.st_ino && a.st_nlink == 1);
	CHECK(access(case_path("first"), F_OK) < 0);
	CHECK(pwrite(fd, "L", 1, 0) == 1);
	d = opendir(case_path("."));
	while (d && (e = readdir(d)))			/* nothing is left lying about */
		CHECK(strncmp(e->d_name, "link_remap", 10) != 0);
	closedir(d);
}

const struct test_case test_case = {
	.proves = "a deleted file with another link is still that same file",
	.options = "--link-remap",
	.before = before,
	.after = after,
};
