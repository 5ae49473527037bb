// SPDX-License-Identifier: MIT
/*
 * inotify_deleted.c - watches of a moved file, a deleted one that is held open, and many numbers.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "../case.h"

static int fd, held, moved, deleted, shots;

static int make(const char *name)
{
	return open(case_path(name), O_RDWR | O_CREAT, 0644);
}

static void before(void)
{
	fd = inotify_init1(IN_NONBLOCK);
	close(make("old"));
	close(make("once"));
	held = make("gone");
	for (int i = 0; i < 1000; i++)
		CHECK(inotify_rm_watch(fd, inotify_add_watch(fd, case_path("old"), IN_OPEN)) == 0);
	shots = inotify_add_watch(fd, case_path("once"), IN_OPEN | IN_ONESHOT);
	moved = inotify_add_watch(fd, case_path("old"), IN_MODIFY);
	deleted = inotify_add_watch(fd, case_path("gone"), IN_MODIFY);
	CHECK(shots > 1000 && moved > shots && deleted > moved);
	CHECK(renameat(AT_FDCWD, case_path("old"), AT_FDCWD, case_path("new")) == 0);
	CHECK(unlink(case_path("gone")) == 0);
}

/* Watches that have something to say, as bits; flag: of this kind. */
static unsigned int seen(uint32_t flag)
{
	_Alignas(struct inotify_event) char buf[65536];
	unsigned int bits = 0;
	int n = read(fd, buf, sizeof(buf)), at;

	for (at = 0; at < n; at += sizeof(struct inotify_event)) {
		struct inotify_event *e = (struct inotify_event *)(buf + at);

		if (e->mask & flag)
			bits |= e->wd == moved ? 1 : e->wd == deleted ? 2 : e->wd == shots ? 4 : 8;
		at += e->len;
	}
	return bits;
}

static void after(void)
{
	int f, again;

	seen(~0u);					/* what was left of before */
	f = open(case_path("new"), O_WRONLY);
	CHECK(write(f, "x", 1) == 1 && seen(IN_MODIFY) == 1);
	CHECK(write(held, "x", 1) == 1 && seen(IN_MODIFY) == 2);
	again = open(case_path("once"), O_RDONLY);
	CHECK(seen(IN_OPEN) == 4);
	close(open(case_path("once"), O_RDONLY));
	CHECK(seen(IN_OPEN) == 0);			/* it was for once */
	close(again);
	close(f);
}

const struct test_case test_case = {
	.proves = "inotify finds moved and deleted files again and keeps large numbers",
	.criu_fails = "CRIU 4.2 forgets IN_ONESHOT",
	.before = before,
	.after = after,
};
