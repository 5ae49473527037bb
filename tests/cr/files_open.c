// SPDX-License-Identifier: MIT
/*
 * files_open.c - regular files and directories: offset, flags, O_APPEND,
 * O_PATH, close-on-exec, shared offsets, signal owner, directory position.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static int plain, append, path_only, copy, apart, owned[2], dir, high, cwd_dir;
static char next_name[300];

static int open_in(const char *name, int flags)
{
	int fd = open(case_path(name), flags, 0640);

	CHECK(fd >= 0);
	return fd;
}

/* Read one directory entry by the bare call; libc would read ahead. */
static void next_entry(int fd, char *name)
{
	struct {
		unsigned long long ino;
		long long off;
		unsigned short len;
		unsigned char type;
		char name[256];
	} e;

	/* a buffer for one short entry only */
	CHECK(syscall(SYS_getdents64, fd, &e, 40) > 0);
	strcpy(name, e.name);
}

static void before(void)
{
	struct f_owner_ex owner = { F_OWNER_PID, getpid() };
	char name[300];

	plain = open_in("plain", O_RDWR | O_CREAT | O_NOATIME);
	CHECK(write(plain, "0123456789", 10) == 10 && lseek(plain, 4, SEEK_SET) == 4);
	copy = dup(plain);
	apart = open_in("plain", O_RDONLY | O_CLOEXEC);
	CHECK(lseek(apart, 7, SEEK_SET) == 7);
	append = open_in("append", O_WRONLY | O_CREAT | O_APPEND);
	CHECK(write(append, "abc", 3) == 3);
	path_only = open_in("plain", O_PATH);
	high = fcntl(plain, F_DUPFD_CLOEXEC, 900);
	CHECK(high == 900);
	CHECK(pipe(owned) == 0);
	CHECK(fcntl(owned[0], F_SETOWN_EX, &owner) == 0 &&
	      fcntl(owned[0], F_SETSIG, SIGRTMIN + 3) == 0);
	CHECK(mkdir(case_path("d"), 0755) == 0);
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "d/e%d", i);
		close(open_in(name, O_WRONLY | O_CREAT));
	}
	dir = open_in("d", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 5; i++)
		next_entry(dir, name);
	/* what comes sixth? ask, and go back */
	off_t here = lseek(dir, 0, SEEK_CUR);

	next_entry(dir, next_name);
	CHECK(lseek(dir, here, SEEK_SET) == here);
	cwd_dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(chdir(case_path("d")) == 0);
}

static void check_offsets(void)
{
	char c;

	CHECK(read(plain, &c, 1) == 1 && c == '4');
	CHECK(read(copy, &c, 1) == 1 && c == '5');	/* one offset for three */
	CHECK(read(high, &c, 1) == 1 && c == '6');
	CHECK(read(apart, &c, 1) == 1 && c == '7');	/* and its own for the fourth */
	CHECK(write(apart, "x", 1) < 0 && errno == EBADF);
	CHECK(lseek(append, 0, SEEK_SET) == 0 && write(append, "d", 1) == 1);
	CHECK(lseek(append, 0, SEEK_CUR) == 4);
	CHECK(read(path_only, &c, 1) < 0 && errno == EBADF);
}

static void after(void)
{
	struct f_owner_ex owner = { 0 };
	struct stat a, b;
	char name[300], cwd[1024];

	check_offsets();
	CHECK((fcntl(plain, F_GETFL) & (O_ACCMODE | O_NOATIME | O_APPEND)) == (O_RDWR | O_NOATIME));
	CHECK(fcntl(append, F_GETFL) & O_APPEND);
	CHECK(fcntl(path_only, F_GETFL) & O_PATH);
	CHECK(fcntl(plain, F_GETFD) == 0 && fcntl(apart, F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(high, F_GETFD) == FD_CLOEXEC && fcntl(copy, F_GETFD) == 0);
	CHECK(fstat(plain, &a) == 0 && fstat(path_only, &b) == 0 && a.st_ino == b.st_ino);
	CHECK(fcntl(owned[0], F_GETOWN_EX, &owner) == 0 && owner.pid == getpid() &&
	      owner.type == F_OWNER_PID);
	CHECK(fcntl(owned[0], F_GETSIG) == SIGRTMIN + 3);
	next_entry(dir, name);
	CHECK(!strcmp(name, next_name));
	CHECK(getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, case_path("d")));
	CHECK(fchdir(cwd_dir) == 0);
}

const struct test_case test_case = {
	.proves = "open files keep offset, flags, sharing, owner and directory position",
	.before = before,
	.after = after,
};
