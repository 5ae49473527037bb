/* SPDX-License-Identifier: MIT */
/*
 * ahead_test.c - looks ahead at many descriptors: what is told of each, whose duplicates are whose,
 * and what is kept open in between.
 */
#include "workers/files/ahead.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/check.h"
#include "workers/common/procfs.h"
#include "workers/files/files.h"
#include "workers/files/kept.h"

#define EACH 300		/* of a kind; they alternate */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void make(int *fds)
{
	size_t i;

	for (i = 0; i < 3 * EACH; i += 3) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		fds[i + 1] = socket(AF_INET, SOCK_DGRAM, 0);
		fds[i + 2] = open("/dev/null", O_RDONLY);
		if (!CHECK(fds[i] >= 0 && fds[i + 1] >= 0 && fds[i + 2] >= 0))
			exit(check_done());
	}
}

static struct ahead_place place_of(int unix_socket)
{
	struct ahead_place p = { .pidfd = procfs_pidfd(getpid()), .owing = true };
	struct statx stx;
	struct stat st;

	p.fd_dir = open("/proc/self/fd", O_PATH | O_CLOEXEC);
	p.info_dir = open("/proc/self/fdinfo", O_PATH | O_CLOEXEC);
	CHECK(p.pidfd >= 0 && p.fd_dir >= 0 && p.info_dir >= 0 && fstat(unix_socket, &st) == 0);
	p.sock_dev = st.st_dev;
	CHECK(statx(unix_socket, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) == 0);
	p.sock_mnt = stx.stx_mnt_id;
	return p;
}

static void look_at_three(struct ahead *a, size_t i, bool owing, size_t bad[3])
{
	const struct look *u = ahead_look(a, i), *in = ahead_look(a, i + 1);
	const struct look *file = ahead_look(a, i + 2);

	bad[0] += u->socket != owing || u->unix_socket != owing || u->dup != -1 ||
		  !u->info != owing;
	bad[1] += in->socket != owing || in->unix_socket || !is_open(in->dup) ||
		  !in->info != owing;
	bad[2] += file->socket || !is_open(file->dup) || !file->info;
}

/*
 * The number of a duplicate that was closed is another's soon: who still has it would close that.
 */
static void look_at_all(bool owing)
{
	size_t i, bad[3] = { 0 };
	static int fds[3 * EACH];
	struct ahead_place place;
	struct ahead *a;

	make(fds);
	place = place_of(fds[0]);
	place.owing = owing;
	a = ahead_begin(&place, AHEAD_FILES, fds, 3 * EACH);
	if (!a) {
		check_skip("there is one processor: nobody looks ahead");
		return;
	}
	for (i = 0; i < 3 * EACH; i += 3)
		look_at_three(a, i, owing, bad);
	CHECK(!bad[0]);
	CHECK(!bad[1]);
	CHECK(!bad[2]);
	ahead_end(a);
	close(place.pidfd);
	close(place.fd_dir);
	close(place.info_dir);
	for (i = 0; i < 3 * EACH; i++)
		close(fds[i]);
}

static void test_duplicates(void)
{
	look_at_all(true);
}

/* Where /proc/locks does not show all locks. */
static void test_not_owing(void)
{
	look_at_all(false);
}

/* What the link of one of our descriptors says. */
static bool says(const char *link, int fd)
{
	char path[64], text[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? !link : link && strcmp(link, text) == 0;
}

static size_t count_open(void)
{
	size_t n = 0;
	int fd;

	for (fd = 0; fd < 4000; fd++)
		n += is_open(fd);
	return n;
}

/*
 * Sockets in a row are told by duplicates, which are gone at once; what is between them by its
 * link.
 */
static void test_links(void)
{
	static int fds[3 * EACH + 1];
	struct ahead_place place;
	size_t i, before, bad = 0;
	struct ahead *a;

	for (i = 0; i < 3 * EACH; i++)
		fds[i] = i % 7 == 6 ? open("/dev/null", O_RDONLY) :
			 socket(i % 2 ? AF_UNIX : AF_INET, SOCK_DGRAM, 0);
	fds[i] = 3999;
	place = place_of(fds[0]);
	close(fds[8]);
	before = count_open();
	a = ahead_begin(&place, AHEAD_LINKS, fds, 3 * EACH + 1);
	for (i = 0; a && i <= 3 * EACH; i++)
		bad += !says(ahead_look(a, i)->link, fds[i]) || ahead_look(a, i)->dup != -1;
	CHECK(!bad && count_open() == before);
	if (!a)
		check_skip("there is one processor: nobody looks ahead");
	ahead_end(a);
	close(place.pidfd);
	close(place.fd_dir);
	close(place.info_dir);
	for (i = 0; i < 3 * EACH; i++)
		if (i != 8)
			close(fds[i]);
}

/* How many can be opened now; they are closed again. */
static size_t left(void)
{
	int fds[300];
	size_t n = 0, i;

	while (n < 300 && (fds[n] = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	for (i = 0; i < n; i++)
		close(fds[i]);
	return n;
}

/* Of a task of this number: open all that may be kept. */
static size_t keep(struct files *fs, pid_t pid, size_t n)
{
	size_t room, i;
	int *kept = kept_new(fs, pid, n, &room);

	for (i = 0; kept && i < room; i++)
		kept[i] = open("/dev/null", O_RDONLY);
	return kept ? room : 0;
}

/* Few descriptors may be had: what is kept for many tasks must not be in the way of the rest. */
static void test_kept_few(void)
{
	struct rlimit old, few;
	struct files fs = { 0 };
	size_t room;

	CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
	few = (struct rlimit){ 1000, old.rlim_max };
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	CHECK(keep(&fs, 1, 400) == 400);
	CHECK(keep(&fs, 2, 400) == 100);
	CHECK(keep(&fs, 3, 400) == 0);
	CHECK(left() == 300);
	CHECK(kept_of(&fs, 1, 400, &room) && room == 400);
	CHECK(!kept_of(&fs, 3, 400, &room) && room == 0);
	CHECK(!fs.kept);
	kept_end(&fs);
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
}

static void test_kept_many(void)
{
	struct files fs = { 0 };
	size_t room;

	CHECK(kept_new(&fs, 1, 200, &room) && room == 200);
	CHECK(kept_new(&fs, 1, 300, &room) && room == 200);
	CHECK(kept_of(&fs, 1, 200, &room) && room == 200);
	CHECK(!kept_of(&fs, 2, 200, &room) && fs.kept);
	kept_end(&fs);
}

int main(void)
{
	check_run("of a unix socket seen ahead no duplicate is left, of others one",
		  test_duplicates);
	check_run("where locks are to be read all have their fdinfo", test_not_owing);
	check_run("before the freeze sockets and others are told as their links tell them",
		  test_links);
	check_run("where few descriptors may be had as few are kept", test_kept_few);
	check_run("what is kept of a task is found again", test_kept_many);
	return check_done();
}
