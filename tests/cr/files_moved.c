// SPDX-License-Identifier: MIT
/*
 * files_moved.c - files and directories that were renamed while open; one of several names
 * deleted; executables that were deleted or replaced while they run.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

static int moved, inside, dir, linked, kept;
static pid_t deleted, replaced;

static int make(const char *name)
{
	int fd = open(case_path(name), O_RDWR | O_CREAT | O_EXCL, 0640);

	CHECK(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	return fd;
}

static void copy_sleep(const char *name)
{
	struct stat st;
	int from = open("/bin/sleep", O_RDONLY);
	int to = open(case_path(name), O_WRONLY | O_CREAT | O_EXCL, 0755);

	CHECK(from >= 0 && to >= 0 && fstat(from, &st) == 0);
	CHECK(sendfile(to, from, NULL, st.st_size) == st.st_size);
	CHECK(close(from) == 0 && close(to) == 0);
}

static pid_t run(const char *name)
{
	pid_t pid;
	char c;
	int ends[2];

	copy_sleep(name);
	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		execl(case_path(name), name, "1000", (char *)NULL);
		_exit(1);
	}
	close(ends[1]);
	CHECK(read(ends[0], &c, 1) == 0);		/* it has the new program */
	close(ends[0]);
	return pid;
}

static void before(void)
{
	moved = make("was");
	CHECK(rename(case_path("was"), case_path("is")) == 0);
	CHECK(mkdir(case_path("olddir"), 0755) == 0);
	dir = open(case_path("olddir"), O_RDONLY | O_DIRECTORY);
	inside = make("olddir/file");
	CHECK(dir >= 0 && chdir(case_path("olddir")) == 0);
	CHECK(rename(case_path("olddir"), case_path("newdir")) == 0);
	linked = make("link1");
	CHECK(link(case_path("link1"), case_path("link2")) == 0);
	kept = open(case_path("link2"), O_RDONLY);
	CHECK(kept >= 0 && unlink(case_path("link1")) == 0);
	deleted = run("deleted");
	CHECK(unlink(case_path("deleted")) == 0);
	replaced = run("replaced");
	copy_sleep("newer");
	CHECK(rename(case_path("newer"), case_path("replaced")) == 0);
}

/* CRIU puts something of its own behind the names of deleted files. */
static void leads_to(const char *link, const char *name)
{
	char have[300] = "";

	CHECK(readlink(link, have, sizeof(have) - 1) > 0);
	CHECK(strncmp(have, case_path(name), strlen(case_path(name))) == 0);
}

static void same(int fd, const char *name)
{
	struct stat a, b;

	CHECK(fstat(fd, &a) == 0 && stat(case_path(name), &b) == 0);
	CHECK(a.st_ino == b.st_ino && a.st_nlink == b.st_nlink);
}

static void still_runs(pid_t pid, const char *name)
{
	char exe[32];

	snprintf(exe, sizeof(exe), "/proc/%d/exe", pid);
	leads_to(exe, name);
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static void after(void)
{
	struct stat st;

	same(moved, "is");
	same(dir, "newdir");
	same(inside, "newdir/file");
	CHECK(stat(".", &st) == 0);
	leads_to("/proc/self/cwd", "newdir");
	same(linked, "link2");
	same(kept, "link2");
	CHECK(access(case_path("link1"), F_OK) < 0);
	still_runs(deleted, "deleted");
	CHECK(access(case_path("deleted"), F_OK) < 0);
	still_runs(replaced, "replaced");
	CHECK(access(case_path("replaced"), F_OK) == 0);
}

const struct test_case test_case = {
	.proves = "what was renamed, linked or replaced while in use is found again",
	.options = "--link-remap",
	.before = before,
	.after = after,
};
