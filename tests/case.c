// SPDX-License-Identifier: MIT
/*
 * case.c - main() of every program in tests/cr/.
 *
 *   NAME --options     print the options the dump needs
 *   NAME --about       print the options, needs_root, criu_fails, later, whether there is a
 *                      between(), proves (one a line)
 *   NAME --between DIR between(), which the harness wants after each dump
 *   NAME DIR           run: before(), create DIR/ready, wait for DIR/go,
 *                      after(), write DIR/result ("ok", "skip: reason" or "failed")
 *
 * Failures are appended to DIR/failures as they happen. While it waits, the
 * program holds nothing but its standard descriptors, so that a case has only
 * what its before() made. Exit: 0 ok, 1 failed, 77 skipped.
 *
 * Alone:  build/tests/cr/NAME /tmp/dir & ... touch /tmp/dir/go; cat /tmp/dir/result
 */
#include "case.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char case_dir[512];

const char *case_path(const char *name)
{
	static _Thread_local char paths[4][1024];	/* for calls with several names */
	static _Thread_local unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", case_dir, name);
	return path;
}

/* Write a whole file, seen by others only when it is complete. */
static void publish(const char *name, const char *text)
{
	char tmp[1100];
	int fd;

	snprintf(tmp, sizeof(tmp), "%s/.%s.%d", case_dir, name, (int)getpid());
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0 ||
	    rename(tmp, case_path(name)) < 0) {
		fprintf(stderr, "cannot write %s: %s\n", tmp, strerror(errno));
		exit(1);
	}
}

bool check_that(bool ok, const char *text, const char *file, int line)
{
	char note[600];
	int saved = errno, fd, n;

	if (ok)
		return true;
	n = snprintf(note, sizeof(note), "%s:%d: %s (errno %d %s)\n", file, line, text,
		     saved, strerror(saved));
	fd = open(case_path("failures"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, note, n < (int)sizeof(note) ? n : (int)sizeof(note) - 1) < 0)
		fprintf(stderr, "%s", note);
	if (fd >= 0)
		close(fd);
	errno = saved;
	return false;
}

static bool failed(void)
{
	return access(case_path("failures"), F_OK) == 0;
}

static bool exists(const char *name)
{
	return access(case_path(name), F_OK) == 0;
}

void case_skip(const char *reason)
{
	char text[300];

	snprintf(text, sizeof(text), "skip: %s\n", reason);
	publish("result", text);
	exit(77);
}

void case_sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

void case_child_wait(void)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "waits.%d", (int)gettid());
	fd = open(case_path(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd >= 0)
		close(fd);
	while (!exists("release"))
		case_sleep_ms(10);
}

void case_release(void)
{
	publish("release", "");
}

static int count_waiting(void)
{
	DIR *dir = opendir(case_dir);
	struct dirent *entry;
	int n = 0;

	if (!CHECK(dir != NULL))
		return 0;
	while ((entry = readdir(dir)))
		n += !strncmp(entry->d_name, "waits.", 6);
	closedir(dir);
	return n;
}

void case_children_wait(int n)
{
	int i;

	for (i = 0; i < 10000 && count_waiting() < n; i++)
		case_sleep_ms(1);
	CHECK(count_waiting() == n);
}

/* The system call in which a task sleeps; -1: in none, or it runs. */
static long sleeps_in(pid_t tid)
{
	char path[32], text[32] = "";
	long call = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) <= 0 || sscanf(text, "%ld ", &call) != 1)
		call = -1;
	close(fd);
	return call;
}

void case_await_call(const pid_t *tid, long call)
{
	pid_t who = 0;
	int i;

	for (i = 0; i < 10000; i++) {
		who = __atomic_load_n(tid, __ATOMIC_ACQUIRE);
		if (who && sleeps_in(who) == call)
			return;
		case_sleep_ms(1);
	}
	CHECK(sleeps_in(who) == call);
}

void case_child_ok(pid_t pid)
{
	int status = -1;
	pid_t got;

	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	CHECK(got == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int about(void)
{
	printf("%s\n%d\n%s\n%s\n%d\n%s\n", test_case.options ? test_case.options : "",
	       test_case.needs_root, test_case.criu_fails ? test_case.criu_fails : "",
	       test_case.later ? test_case.later : "", test_case.between != NULL,
	       test_case.proves);
	return 0;
}

static int finish(void)
{
	bool bad = failed();

	publish("result", bad ? "failed\n" : "ok\n");
	return bad;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--between") && realpath(argv[2], case_dir)) {
		test_case.between();
		return failed();
	}
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIR | --options | --about\n%s\n", argv[0],
			test_case.proves);
		return 2;
	}
	if (!strcmp(argv[1], "--options"))
		return puts(test_case.options ? test_case.options : "") < 0;
	if (!strcmp(argv[1], "--about"))
		return about();
	if (!realpath(argv[1], case_dir)) {
		perror(argv[1]);
		return 2;
	}
	umask(022);
	test_case.before();
	if (failed())
		return finish();
	publish("ready", "");
	while (!exists("go"))
		case_sleep_ms(10);
	test_case.after();
	return finish();
}
