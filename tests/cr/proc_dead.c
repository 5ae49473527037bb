// SPDX-License-Identifier: MIT
/*
 * proc_dead.c - files of /proc, open, and a working directory there, whose task has ended; of one
 * task a single file (hostobjects.py gives its number to somebody else).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

static pid_t gone, other;
static int status, dir, path, self, of_other;

static int open_of(pid_t pid, const char *name, int flags)
{
	char text[64];

	snprintf(text, sizeof(text), "/proc/%d%s", pid, name);
	return open(text, flags);
}

static pid_t make_task(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void end_task(pid_t pid)
{
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static void before(void)
{
	char text[64];

	gone = make_task();
	other = make_task();
	status = open_of(gone, "/status", O_RDONLY);
	dir = open_of(gone, "", O_RDONLY | O_DIRECTORY);
	path = open_of(gone, "/maps", O_PATH);
	of_other = open_of(other, "/stat", O_RDONLY);
	self = open("/proc/self/comm", O_RDONLY);
	CHECK(status >= 0 && dir >= 0 && path >= 0 && self >= 0 && of_other >= 0);
	CHECK(read(status, text, 5) == 5 && !memcmp(text, "Name:", 5));
	CHECK(fchdir(dir) == 0);
	end_task(gone);
	end_task(other);
}

static void shows(int fd, pid_t pid, const char *name)
{
	char self_fd[32], want[64], have[64];
	ssize_t n;

	snprintf(self_fd, sizeof(self_fd), "/proc/self/fd/%d", fd);
	snprintf(want, sizeof(want), "/proc/%d%s", pid, name);
	n = readlink(self_fd, have, sizeof(have) - 1);
	CHECK(n > 0);
	have[n < 0 ? 0 : n] = '\0';
	CHECK(strncmp(have, want, strlen(want)) == 0);
}

static void after(void)
{
	char text[64];

	CHECK(kill(gone, 0) < 0 && errno == ESRCH);
	CHECK(kill(other, 0) < 0 && errno == ESRCH);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD);
	shows(status, gone, "/status");
	shows(dir, gone, "");
	shows(path, gone, "/maps");
	shows(of_other, other, "/stat");
	CHECK(lseek(status, 0, SEEK_CUR) == 5);
	CHECK(pread(status, text, 5, 0) < 0 && errno == ESRCH);
	CHECK(pread(of_other, text, 5, 0) < 0 && errno == ESRCH);
	CHECK(openat(dir, "status", O_RDONLY) < 0);
	CHECK(getcwd(text, sizeof(text)) == NULL);
	CHECK(pread(self, text, 4, 0) == 4);
}

const struct test_case test_case = {
	.proves = "files of /proc of a task that has ended stay open and stay dead",
	.before = before,
	.after = after,
};
