// SPDX-License-Identifier: MIT
/*
 * files_odd.c - deleted files whose directory's name is another file now, names that look deleted,
 * two generations of one name, a task that waits for a lock.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static int below, dir, looks, real, older, newer, lock_fd;
static pid_t waiter;

static int make(const char *name, const char *text)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT | O_EXCL, 0640);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static void has(int fd, const char *text)
{
	char buf[32] = "";

	CHECK(pread(fd, buf, sizeof(buf) - 1, 0) == (ssize_t)strlen(text) && !strcmp(buf, text));
}

static void wait_for_lock(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 1 };
	int fd = open(case_path("lock"), O_RDWR);

	CHECK(fd >= 0 && fcntl(fd, F_SETLKW, &l) == 0);
	has(fd, "released");
	exit(0);
}

static void before(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 1 };

	CHECK(mkdir(case_path("d"), 0755) == 0 && mkdir(case_path("d/e"), 0755) == 0);
	below = make("d/e/file", "below");
	dir = open(case_path("d/e"), O_RDONLY | O_DIRECTORY);
	CHECK(dir >= 0 && unlink(case_path("d/e/file")) == 0);
	CHECK(rmdir(case_path("d/e")) == 0 && rmdir(case_path("d")) == 0);
	close(make("d", "a file now"));
	looks = make("looks (deleted)", "not deleted");
	real = make("looks", "deleted");
	CHECK(unlink(case_path("looks")) == 0);
	older = make("same", "older");
	CHECK(unlink(case_path("same")) == 0);
	newer = make("same", "newer");
	CHECK(unlink(case_path("same")) == 0);
	lock_fd = make("lock", "locked");
	CHECK(fcntl(lock_fd, F_SETLK, &l) == 0);
	waiter = fork();
	if (waiter == 0)
		wait_for_lock();
	case_await_call(&waiter, SYS_fcntl);
}

static void after(void)
{
	struct flock l = { .l_type = F_UNLCK, .l_len = 1 };
	struct stat st;

	has(below, "below");
	CHECK(fstat(below, &st) == 0 && st.st_nlink == 0);
	CHECK(fstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0);
	CHECK(stat(case_path("d"), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 10);
	has(looks, "not deleted");
	CHECK(fstat(looks, &st) == 0 && st.st_nlink == 1);
	has(real, "deleted");
	CHECK(fstat(real, &st) == 0 && st.st_nlink == 0);
	CHECK(access(case_path("looks"), F_OK) < 0 && access(case_path("same"), F_OK) < 0);
	has(older, "older");
	has(newer, "newer");
	CHECK(pwrite(lock_fd, "released", 8, 0) == 8);
	CHECK(fcntl(lock_fd, F_SETLK, &l) == 0);
	case_child_ok(waiter);
}

const struct test_case test_case = {
	.proves = "odd names of deleted files are no obstacle; who waits for a lock goes on "
		  "waiting",
	.options = "--file-locks",
	.criu_fails = "it makes deleted files below what is no directory now",
	.before = before,
	.after = after,
};
