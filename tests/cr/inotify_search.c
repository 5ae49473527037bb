// SPDX-License-Identifier: MIT
/* inotify_search.c - a watch in a file system whose handles cannot be opened: found by a search. */
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "../case.h"

#define WATCHED "/proc/sys/kernel/hostname"

static int ifd, wd;

static void before(void)
{
	ifd = inotify_init1(IN_NONBLOCK);
	CHECK(ifd >= 0);
	wd = inotify_add_watch(ifd, WATCHED, IN_OPEN | IN_CLOSE_NOWRITE);
	CHECK(wd > 0);
}

static void after(void)
{
	char buf[4096];
	const struct inotify_event *e = (const struct inotify_event *)buf;
	int fd;

	while (read(ifd, buf, sizeof(buf)) > 0)
		;
	fd = open(WATCHED, O_RDONLY);
	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(read(ifd, buf, sizeof(buf)) >= (ssize_t)sizeof(*e));
	CHECK(e->wd == wd && e->mask == IN_OPEN);
}

const struct test_case test_case = {
	.proves = "a watched file is found by its path where its handle cannot be opened",
	.options = "--irmap-scan-path /proc/sys/kernel",
	.before = before,
	.after = after,
};
