// SPDX-License-Identifier: MIT
/*
 * files_path.c - O_PATH of what cannot be opened otherwise, there and deleted: symbolic links,
 * sockets, fifos; of memory files.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

static const mode_t kinds[] = { S_IFLNK, S_IFSOCK, S_IFIFO, S_IFREG, S_IFDIR };

enum { KINDS = 5 };

static int there[KINDS], gone[KINDS], memory;

static void make_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sk = socket(AF_UNIX, SOCK_STREAM, 0);

	CHECK(strlen(path) < sizeof(a.sun_path));
	strcpy(a.sun_path, path);
	CHECK(bind(sk, (struct sockaddr *)&a, sizeof(a)) == 0 && close(sk) == 0);
}

static int make(mode_t kind, const char *path)
{
	int fd = -1;

	if (kind == S_IFLNK)
		CHECK(symlink("to nowhere", path) == 0);
	else if (kind == S_IFSOCK)
		make_socket(path);
	else if (kind == S_IFDIR)
		CHECK(mkdir(path, 0750) == 0);
	else
		CHECK(mknod(path, kind | 0640, 0) == 0);
	fd = open(path, O_PATH | O_NOFOLLOW);
	CHECK(fd >= 0);
	return fd;
}

static void before(void)
{
	static const char *const names[KINDS] = { "link", "socket", "fifo", "file", "dir" };
	char path[300];
	int i, fd;

	for (i = 0; i < KINDS; i++) {
		there[i] = make(kinds[i], case_path(names[i]));
		strcpy(path, case_path(names[i]));
		strcat(path, ".gone");
		gone[i] = make(kinds[i], path);
		CHECK((kinds[i] == S_IFDIR ? rmdir(path) : unlink(path)) == 0);
	}
	fd = memfd_create("path", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memory = open(path, O_PATH);
	CHECK(fd >= 0 && ftruncate(fd, 4096) == 0 && memory >= 0);
}

static void after(void)
{
	char text[32];
	struct stat st;
	int i;

	for (i = 0; i < KINDS; i++) {
		CHECK(fcntl(there[i], F_GETFL) & O_PATH && fcntl(gone[i], F_GETFL) & O_PATH);
		CHECK(fstat(there[i], &st) == 0 && (st.st_mode & S_IFMT) == kinds[i] &&
		      st.st_nlink);
		CHECK(fstat(gone[i], &st) == 0 && (st.st_mode & S_IFMT) == kinds[i] &&
		      !st.st_nlink);
	}
	CHECK(readlinkat(there[0], "", text, sizeof(text)) == 10 && !memcmp(text, "to nowhere",
									    10));
	CHECK(readlinkat(gone[0], "", text, sizeof(text)) == 10 && !memcmp(text, "to nowhere", 10));
	CHECK(fcntl(memory, F_GETFL) & O_PATH);
}

const struct test_case test_case = {
	.proves = "paths stay open, of whatever they lead to, also when that is deleted",
	.criu_fails = "it knows no deleted sockets, and seeks in a memfd opened with O_PATH",
	.before = before,
	.after = after,
};
