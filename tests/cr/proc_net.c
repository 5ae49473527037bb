// SPDX-License-Identifier: MIT
/*
 * proc_net.c - files below /proc/PID/net, which show as deleted as soon as their names are looked
 * up again, open twice; and one of a task that lives.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../case.h"

static int first, second, plain;

static void before(void)
{
	struct stat st;
	char text[64];

	first = open("/proc/self/net/tcp", O_RDONLY);
	second = open("/proc/net/tcp", O_RDONLY);
	plain = open("/proc/self/status", O_RDONLY);
	CHECK(first >= 0 && second >= 0 && plain >= 0);
	CHECK(read(second, text, 6) == 6 && !memcmp(text, "  sl  ", 6));
	snprintf(text, sizeof(text), "/proc/%d/net/tcp", getpid());
	CHECK(stat(text, &st) == 0);
}

static void after(void)
{
	char text[64];

	CHECK(lseek(second, 0, SEEK_CUR) == 6);
	CHECK(pread(first, text, 6, 0) == 6 && !memcmp(text, "  sl  ", 6));
	CHECK(pread(second, text, 6, 0) == 6 && !memcmp(text, "  sl  ", 6));
	CHECK(pread(plain, text, 5, 0) == 5 && !memcmp(text, "Name:", 5));
}

const struct test_case test_case = {
	.proves = "files of /proc/PID/net stay open",
	.before = before,
	.after = after,
};
