// SPDX-License-Identifier: MIT
/* proc_thread.c - open files of /proc of threads, of the task itself and of another one. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int comm, status, own, path;
static volatile int stop, tid;
static pthread_t thread;
static pid_t child;

static void *run(void *arg)
{
	tid = gettid();
	while (!stop)
		case_sleep_ms(10);
	return arg;
}

static int open_of(const char *name, int flags)
{
	char text[64];
	int fd;

	snprintf(text, sizeof(text), "/proc/%d/task/%d/%s", getpid(), tid, name);
	fd = open(text, flags);
	CHECK(fd >= 0);
	return fd;
}

static void shows(int fd, const char *word, int number)
{
	char text[4096], want[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	CHECK(n > 0);
	text[n < 0 ? 0 : n] = '\0';
	snprintf(want, sizeof(want), "%s%d\n", word, number);
	CHECK(strstr(text, want) != NULL);
}

static void child_body(void)
{
	case_child_wait();
	shows(status, "Pid:\t", tid);
	exit(0);
}

static void before(void)
{
	char c;

	CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
	while (!tid)
		case_sleep_ms(1);
	comm = open_of("comm", O_RDWR | O_CLOEXEC);
	CHECK(write(comm, "ready", 5) == 5 && lseek(comm, 0, SEEK_SET) == 0);
	CHECK(read(comm, &c, 1) == 1 && c == 'r');
	status = open_of("status", O_RDONLY);
	path = open_of("maps", O_PATH);
	own = open("/proc/thread-self/status", O_RDONLY);
	CHECK(own >= 0);
	child = fork();
	if (child == 0)
		child_body();
}

static void after(void)
{
	char text[16] = "";
	struct stat st;

	CHECK(fcntl(comm, F_GETFD) == FD_CLOEXEC && (fcntl(comm, F_GETFL) & O_ACCMODE) == O_RDWR);
	CHECK(lseek(comm, 0, SEEK_CUR) == 1);		/* what follows was read with it */
	CHECK(write(comm, "again", 5) == 5 && lseek(comm, 0, SEEK_SET) == 0);
	CHECK(read(comm, text, 15) == 6 && !memcmp(text, "again\n", 6));
	shows(status, "Pid:\t", tid);
	shows(own, "Pid:\t", getpid());
	CHECK(fcntl(path, F_GETFL) & O_PATH && fstat(path, &st) == 0);
	case_release();
	case_child_ok(child);
	stop = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "files of /proc of threads stay open",
	.criu_fails = "it opens them before there are threads",
	.before = before,
	.after = after,
};
