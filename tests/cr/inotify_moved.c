// SPDX-License-Identifier: MIT
/*
 * inotify_moved.c - watches of files and directories that were renamed after the watch was added.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int ifd, of_file, of_dir, of_inner;

static int watch(const char *name, uint32_t mask)
{
	int wd = inotify_add_watch(ifd, case_path(name), mask);

	CHECK(wd > 0);
	return wd;
}

static void make(const char *name)
{
	int fd = open(case_path(name), O_WRONLY | O_CREAT, 0644);

	CHECK(fd >= 0 && close(fd) == 0);
}

static void before(void)
{
	char buf[4096];

	CHECK(mkdir(case_path("d"), 0755) == 0 && mkdir(case_path("d/e"), 0755) == 0);
	make("f");
	make("d/e/inner");
	ifd = inotify_init1(IN_NONBLOCK);
	CHECK(ifd >= 0);
	of_file = watch("f", IN_ATTRIB);
	of_dir = watch("d/e", IN_CREATE);
	of_inner = watch("d/e/inner", IN_ATTRIB);
	CHECK(rename(case_path("f"), case_path("f2")) == 0);
	CHECK(rename(case_path("d"), case_path("d2")) == 0);
	CHECK(rename(case_path("d2/e"), case_path("e2")) == 0);
	make("f");					/* not the one that is watched */
	while (read(ifd, buf, sizeof(buf)) > 0)
		;
}

static void gives(int wd, uint32_t mask, const char *name)
{
	char buf[sizeof(struct inotify_event) + 256];
	const struct inotify_event *e = (const struct inotify_event *)buf;

	CHECK(read(ifd, buf, sizeof(buf)) >= (ssize_t)sizeof(*e));
	CHECK(e->wd == wd && e->mask == mask && !strcmp(e->len ? e->name : "", name));
}

static void after(void)
{
	char buf[4096];

	while (read(ifd, buf, sizeof(buf)) > 0)
		;
	CHECK(chmod(case_path("f"), 0600) == 0);	/* says nothing */
	CHECK(chmod(case_path("f2"), 0600) == 0);
	gives(of_file, IN_ATTRIB, "");
	make("e2/new");
	gives(of_dir, IN_CREATE, "new");
	CHECK(chmod(case_path("e2/inner"), 0600) == 0);
	gives(of_inner, IN_ATTRIB, "");
	CHECK(read(ifd, buf, sizeof(buf)) < 0);
}

const struct test_case test_case = {
	.proves = "watches follow files and directories that were renamed",
	.before = before,
	.after = after,
};
