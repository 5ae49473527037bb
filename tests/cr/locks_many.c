// SPDX-License-Identifier: MIT
/*
 * locks_many.c - locks with several holders: tasks side by side on one file, readers together, one
 * open file in two tasks, an opener that has ended, deleted files.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

enum { POSIX_FD = 50, FLOCK_FD, OFD_FD, GONE_FD };

static pid_t kids[2], heir;
static int orphaned, shared_a, shared_b, ofd_a, ofd_b;

static int open_as(const char *name, int at)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0 && dup2(fd, at) == at && close(fd) == 0);
	return at;
}

static int open_plain(const char *name)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0);
	return fd;
}

static void lock(int fd, int cmd, int type, int start, int len)
{
	struct flock l = { .l_type = type, .l_start = start, .l_len = len };

	CHECK(fcntl(fd, cmd, &l) == 0);
}

/* Who stands in the way of a write lock there? 0: nobody, -1: an open file. */
static pid_t holder(const char *name, int start)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = start, .l_len = 1 };
	int fd = open_plain(name);

	/* An OFD query sees POSIX locks of its own task too. */
	CHECK(fcntl(fd, F_OFD_GETLK, &l) == 0);
	return l.l_type == F_UNLCK ? 0 : l.l_pid;	/* not closed: that would drop our locks */
}

static void kid(int i)
{
	open_as("posix", POSIX_FD);
	open_as("flock", FLOCK_FD);
	lock(POSIX_FD, F_SETLK, F_WRLCK, 10 * i, 5);
	lock(POSIX_FD, F_SETLK, F_RDLCK, 100, 0);
	CHECK(flock(FLOCK_FD, LOCK_SH) == 0);
	CHECK(kill(getppid(), 0) == 0 && write(ofd_a, "x", 1) == 1);
	case_child_wait();
	CHECK(flock(FLOCK_FD, LOCK_EX | LOCK_NB) < 0);
	exit(0);
}

/* A task in between opens and locks, has a child, and ends. */
static void middle(void)
{
	orphaned = open_plain("orphaned");
	CHECK(flock(orphaned, LOCK_EX) == 0);
	heir = fork();
	if (heir)
		_exit(0);
	CHECK(write(ofd_a, "x", 1) == 1);
	case_child_wait();
	CHECK(flock(orphaned, LOCK_UN) == 0);
	CHECK(flock(open_plain("orphaned"), LOCK_EX | LOCK_NB) == 0);
	_exit(0);
}

static void before(void)
{
	pid_t pid;
	int i;

	ofd_a = open_plain("ofd");
	ofd_b = open_plain("ofd");
	lock(ofd_a, F_OFD_SETLK, F_RDLCK, 1000, 10);
	lock(ofd_b, F_OFD_SETLK, F_RDLCK, 1005, 10);
	lock(ofd_b, F_OFD_SETLK, F_WRLCK, 2000, 0);
	for (i = 0; i < 2; i++) {
		kids[i] = fork();
		if (kids[i] == 0)
			kid(i);
	}
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid = fork();
	if (pid == 0)
		middle();
	CHECK(waitpid(pid, NULL, 0) == pid);
	open_as("posix", POSIX_FD);
	lock(POSIX_FD, F_SETLK, F_RDLCK, 150, 10);
	shared_a = open_plain("shared");
	shared_b = dup(shared_a);
	CHECK(flock(shared_b, LOCK_EX) == 0);
	open_as("gone", GONE_FD);
	CHECK(unlink(case_path("gone")) == 0 && flock(GONE_FD, LOCK_SH) == 0);
	lock(GONE_FD, F_SETLK, F_WRLCK, 3, 4);
	for (i = 0; i < 500 && lseek(ofd_a, 0, SEEK_CUR) < 3; i++)
		case_sleep_ms(10);
	CHECK(lseek(ofd_a, 0, SEEK_CUR) == 3);		/* all have their locks */
}

static void after(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = 0, .l_len = 1 };
	int fd;

	CHECK(holder("posix", 0) == kids[0] && holder("posix", 10) == kids[1]);
	CHECK(holder("posix", 5) == 0 && holder("posix", 20) == 0);
	CHECK(holder("posix", 100) == kids[0] || holder("posix", 100) == kids[1]);
	CHECK(holder("posix", 1 << 30) > 0);
	CHECK(holder("ofd", 1000) == -1 && holder("ofd", 1012) == -1 && holder("ofd", 9999) == -1);
	CHECK(holder("ofd", 1020) == 0);
	lock(ofd_a, F_OFD_SETLK, F_UNLCK, 1000, 10);
	CHECK(holder("ofd", 1000) == 0 && holder("ofd", 1007) == -1);
	fd = open_plain("shared");
	CHECK(flock(fd, LOCK_SH | LOCK_NB) < 0);
	CHECK(flock(shared_a, LOCK_UN) == 0 && flock(fd, LOCK_SH | LOCK_NB) == 0);
	fd = open_plain("flock");
	CHECK(flock(fd, LOCK_SH | LOCK_NB) == 0);
	fd = open_plain("orphaned");
	CHECK(flock(fd, LOCK_SH | LOCK_NB) < 0);
	close(fd);
	fd = open("/proc/self/fd/53", O_RDWR);
	CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && flock(fd, LOCK_SH | LOCK_NB) == 0);
	l.l_start = 4;
	CHECK(fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type == F_WRLCK && l.l_pid == getpid());
	case_release();
	case_child_ok(kids[0]);
	case_child_ok(kids[1]);
	CHECK(waitpid(-1, NULL, 0) > 0);		/* the heir */
}

const struct test_case test_case = {
	.proves = "locks of several holders are held by each of them again",
	.options = "--file-locks",
	.before = before,
	.after = after,
};
