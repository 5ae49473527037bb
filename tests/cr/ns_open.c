// SPDX-License-Identifier: MIT
/* ns_open.c - open descriptors of namespaces, /proc/PID/ns/NAME, and the links themselves. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

#define KINDS 8

static const char *const kinds[KINDS] = {
	"pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time",
};
static int fds[KINDS], link_fd, again;

static void before(void)
{
	char path[64];
	int i;

	for (i = 0; i < KINDS; i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		fds[i] = open(path, O_RDONLY | (i & 1 ? O_CLOEXEC : 0));
		CHECK(fds[i] >= 0);
	}
	again = open("/proc/self/ns/net", O_PATH);
	link_fd = open("/proc/self/ns/net", O_PATH | O_NOFOLLOW);
	CHECK(again >= 0 && link_fd >= 0);
}

static void same(int fd, const char *kind)
{
	struct stat a, b;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	CHECK(fstat(fd, &a) == 0 && stat(path, &b) == 0);
	CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
}

static void after(void)
{
	struct stat st;
	char text[64], want[64];
	ssize_t n, m;
	int i;

	for (i = 0; i < KINDS; i++) {
		same(fds[i], kinds[i]);
		CHECK(fcntl(fds[i], F_GETFD) == (i & 1));
		CHECK((fcntl(fds[i], F_GETFL) & O_ACCMODE) == O_RDONLY);
	}
	same(again, "net");
	CHECK(fcntl(again, F_GETFL) & O_PATH);
	CHECK(fstat(link_fd, &st) == 0 && S_ISLNK(st.st_mode));
	n = readlinkat(link_fd, "", text, sizeof(text));
	m = readlink("/proc/self/ns/net", want, sizeof(want));
	CHECK(n > 0 && n == m && memcmp(text, want, n) == 0);
}

const struct test_case test_case = {
	.proves = "open namespaces stay open",
	.before = before,
	.after = after,
};
