// SPDX-License-Identifier: MIT
/* proc_dead.c - files of /proc, open, and a working directory there, whose task has ended. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

static pid_t gone;
static int status, dir, path, self;

static int open_of(const char *name, int flags)
{
	char text[64];

	snprintf(text, sizeof(text), "/proc/%d%s", gone, name);
	return open(text, flags);
}

static void before(void)
{
	char text[64];

	gone = fork();
	if (gone == 0)
		for (;;)
			pause();
	status = open_of("/status", O_RDONLY);
	dir = open_of("", O_RDONLY | O_DIRECTORY);
	path = open_of("/maps", O_PATH);
	self = open("/proc/self/comm", O_RDONLY);
	CHECK(status >= 0 && dir >= 0 && path >= 0 && self >= 0);
	CHECK(read(status, text, 5) == 5 && !memcmp(text, "Name:", 5));
	CHECK(fchdir(dir) == 0);
	CHECK(kill(gone, SIGKILL) == 0 && waitpid(gone, NULL, 0) == gone);
}

static void shows(int fd, const char *name)
{
	char self_fd[32], want[64], have[64];
	ssize_t n;

	snprintf(self_fd, sizeof(self_fd), "/proc/self/fd/%d", fd);
	snprintf(want, sizeof(want), "/proc/%d%s", gone, name);
	n = readlink(self_fd, have, sizeof(have) - 1);
	CHECK(n > 0);
	have[n < 0 ? 0 : n] = '\0';
	CHECK(strncmp(have, want, strlen(want)) == 0);
}

static void after(void)
{
	char text[64];

	CHECK(kill(gone, 0) < 0 && errno == ESRCH);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD);
	shows(status, "/status");
	shows(dir, "");
	shows(path, "/maps");
	CHECK(lseek(status, 0, SEEK_CUR) == 5);
	CHECK(pread(status, text, 5, 0) < 0 && errno == ESRCH);
	CHECK(openat(dir, "status", O_RDONLY) < 0);
	CHECK(getcwd(text, sizeof(text)) == NULL);
	CHECK(pread(self, text, 4, 0) == 4);
}

const struct test_case test_case = {
	.proves = "files of /proc of a task that has ended stay open and stay dead",
	.before = before,
	.after = after,
};
