// SPDX-License-Identifier: MIT
/* eventfd_semaphore.c - an eventfd that gives one at a time (EFD_SEMAPHORE). */
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../case.h"

static int fd;

static void before(void)
{
	fd = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	CHECK(fd >= 0);
}

static void after(void)
{
	uint64_t n;

	for (int i = 0; i < 3; i++)
		CHECK(read(fd, &n, 8) == 8 && n == 1);
	CHECK(read(fd, &n, 8) < 0 && errno == EAGAIN);
}

const struct test_case test_case = {
	.proves = "a semaphore eventfd stays one",
	.criu_fails = "CRIU 4.2 restores it without EFD_SEMAPHORE",
	.before = before,
	.after = after,
};
