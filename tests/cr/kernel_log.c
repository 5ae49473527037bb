// SPDX-License-Identifier: MIT
/* kernel_log.c - the kernel's log, opened for reading, as a system logger holds it. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../case.h"

static int fd;

static void before(void)
{
	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (fd < 0 && (errno == EPERM || errno == EACCES || errno == ENOENT))
		case_skip("/dev/kmsg cannot be opened here");
	CHECK(fd >= 0);
}

static void after(void)
{
	char text[8192];

	CHECK(read(fd, text, sizeof(text)) > 0);
}

const struct test_case test_case = {
	.proves = "the kernel's log is opened again, which needs a right of its own",
	.before = before,
	.after = after,
};
