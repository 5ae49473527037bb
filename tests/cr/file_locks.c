// SPDX-License-Identifier: MIT
/* file_locks.c - flock, POSIX and open-file-description locks and who holds them. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "../case.h"

static int flock_fd, posix_fd, ofd_fd, other;
static pid_t child;

static int open_new(const char *name)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0);
	return fd;
}

static void child_body(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 };
	int fd;

	case_child_wait();
	fd = open_new("posix");
	CHECK(fcntl(fd, F_GETLK, &l) == 0 && l.l_type == F_WRLCK && l.l_pid == getppid() &&
	      l.l_start == 12 && l.l_len == 2);
	exit(0);
}

static void before(void)
{
	struct flock posix = { .l_type = F_WRLCK, .l_start = 12, .l_len = 2 };
	struct flock ofd = { .l_type = F_RDLCK, .l_start = 0, .l_len = 100 };

	flock_fd = open_new("flock");
	posix_fd = open_new("posix");
	ofd_fd = open_new("ofd");
	CHECK(flock(flock_fd, LOCK_EX) == 0);
	CHECK(fcntl(posix_fd, F_SETLK, &posix) == 0);
	CHECK(fcntl(ofd_fd, F_OFD_SETLK, &ofd) == 0);
	child = fork();
	if (child == 0)
		child_body();
}

static void after(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = 50, .l_len = 1 };

	other = open_new("flock");
	CHECK(flock(other, LOCK_SH | LOCK_NB) < 0);
	CHECK(flock(flock_fd, LOCK_UN) == 0);
	/* the child has the same description; the lock is gone for it as well */
	CHECK(flock(other, LOCK_EX | LOCK_NB) == 0);
	other = open_new("ofd");
	CHECK(fcntl(other, F_OFD_GETLK, &l) == 0 && l.l_type == F_RDLCK && l.l_len == 100);
	case_release();
	case_child_ok(child);
}

const struct test_case test_case = {
	.proves = "file locks of all three kinds are held by the same owners",
	.options = "--file-locks",
	.before = before,
	.after = after,
};
