// SPDX-License-Identifier: MIT
/* inotify.c - watches with their numbers and masks. Events queued at the dump may be lost. */
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "../case.h"

static int fd, watch_dir, watch_file;

static void touch(const char *name)
{
	int f = open(case_path(name), O_WRONLY | O_CREAT, 0644);

	CHECK(f >= 0 && write(f, "x", 1) == 1);
	close(f);
}

static void before(void)
{
	touch("watched");
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	/* numbers with a gap */
	watch_dir = inotify_add_watch(fd, case_path("watched"), IN_ATTRIB);
	CHECK(inotify_rm_watch(fd, watch_dir) == 0);
	watch_file = inotify_add_watch(fd, case_path("watched"), IN_CLOSE_WRITE);
	watch_dir = inotify_add_watch(fd, case_path("."), IN_CREATE | IN_MOVED_TO);
	CHECK(fd >= 0 && watch_file > 0 && watch_dir > 0);
}

static void after(void)
{
	_Alignas(struct inotify_event) char buf[4096];
	int n, at, seen = 0;

	while (read(fd, buf, sizeof(buf)) > 0)		/* "go", and what the tools made */
		;
	touch("watched");
	touch("new");
	n = read(fd, buf, sizeof(buf));
	for (at = 0; at < n; at += sizeof(struct inotify_event)) {
		struct inotify_event *e = (struct inotify_event *)(buf + at);

		seen |= e->wd == watch_file && (e->mask & IN_CLOSE_WRITE) ? 1 : 0;
		seen |= e->wd == watch_dir && (e->mask & IN_CREATE) ? 2 : 0;
		at += e->len;
	}
	CHECK(seen == 3);
}

const struct test_case test_case = {
	.proves = "inotify watches keep their number, mask and target",
	.before = before,
	.after = after,
};
