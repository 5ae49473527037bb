/* SPDX-License-Identifier: MIT */
/*
 * ahead_test.c - looks ahead at many descriptors: what is told of each, and whose duplicates are
 * whose.
 */
#include "workers/files/ahead.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/check.h"
#include "workers/common/procfs.h"

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
	struct ahead_place p = { .pidfd = procfs_pidfd(getpid()), .sock_mnt = 1 };
	struct stat st;

	p.fd_dir = open("/proc/self/fd", O_PATH | O_CLOEXEC);
	p.info_dir = open("/proc/self/fdinfo", O_PATH | O_CLOEXEC);
	CHECK(p.pidfd >= 0 && p.fd_dir >= 0 && p.info_dir >= 0 && fstat(unix_socket, &st) == 0);
	p.sock_dev = st.st_dev;
	return p;
}

/* The number of a duplicate that was closed is another's soon: who still has it would close that. */
static void test_duplicates(void)
{
	size_t i, bad[3] = { 0 };
	static int fds[3 * EACH];
	struct ahead_place place;
	struct ahead *a;

	make(fds);
	place = place_of(fds[0]);
	a = ahead_begin(&place, AHEAD_FILES, fds, 3 * EACH);
	if (!a) {
		check_skip("there is one processor: nobody looks ahead");
		return;
	}
	for (i = 0; i < 3 * EACH; i += 3) {
		const struct look *u = ahead_look(a, i), *in = ahead_look(a, i + 1);
		const struct look *file = ahead_look(a, i + 2);

		bad[0] += !u->socket || !u->unix_socket || u->dup != -1 || u->info;
		bad[1] += !in->socket || in->unix_socket || !is_open(in->dup) || in->info;
		bad[2] += file->socket || !is_open(file->dup) || !file->info;
	}
	CHECK(!bad[0]);
	CHECK(!bad[1]);
	CHECK(!bad[2]);
	ahead_end(a);
	close(place.pidfd);
	close(place.fd_dir);
	close(place.info_dir);
}

int main(void)
{
	check_run("of a unix socket seen ahead no duplicate is left, of others one", test_duplicates);
	return check_done();
}
