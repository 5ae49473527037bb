// SPDX-License-Identifier: MIT
/*
 * timerfd_overdue.c - a periodic timerfd that nobody has read for a while.
 *
 * The kernel arms such a timer again only when it is read, so until then fdinfo
 * shows no time left; restored as that, it would never fire again.
 */
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../case.h"

static int fd;

static void before(void)
{
	struct itimerspec its = { { 0, 20000000 }, { 0, 20000000 } };

	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	CHECK(fd >= 0 && timerfd_settime(fd, 0, &its, NULL) == 0);
	case_sleep_ms(50);
}

static void after(void)
{
	struct itimerspec its;
	uint64_t n = 0;

	CHECK(read(fd, &n, 8) == 8 && n >= 1);
	for (int i = 0; i < 3; i++) {
		case_sleep_ms(50);
		CHECK(read(fd, &n, 8) == 8 && n >= 1);
	}
	CHECK(timerfd_gettime(fd, &its) == 0 && its.it_interval.tv_nsec == 20000000);
}

const struct test_case test_case = {
	.proves = "a periodic timerfd with unread expirations goes on",
	.criu_fails = "CRIU 4.2 restores it disarmed",
	.before = before,
	.after = after,
};
