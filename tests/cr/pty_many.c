// SPDX-License-Identifier: MIT
/*
 * pty_many.c - hundreds of ptys whose descriptors run against their numbers. The kernel gives the
 * lowest free number, so a restore that makes them in the order of descriptors makes each pty
 * hundreds of times.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../case.h"

enum { PTYS = 800, FIRST_FD = 1000, TIME_S_MAX = 20 };

static uint32_t number[PTYS];
static time_t began;

static void before(void)
{
	struct rlimit lim;
	int i, fd;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_cur < FIRST_FD + PTYS)
		case_skip("RLIMIT_NOFILE allows too few descriptors");
	for (i = 0; i < PTYS; i++) {
		fd = open("/dev/ptmx", O_RDWR | O_NOCTTY);
		if (fd < 0)
			case_skip("kernel.pty.max allows too few ptys");
		CHECK(ioctl(fd, TIOCGPTN, &number[i]) == 0);
		CHECK(dup2(fd, FIRST_FD + PTYS - 1 - i) >= 0);
		close(fd);
	}
	began = time(NULL);
}

static void after(void)
{
	uint32_t now;
	int i;

	for (i = 0; i < PTYS; i++)
		CHECK(ioctl(FIRST_FD + PTYS - 1 - i, TIOCGPTN, &now) == 0 && now == number[i]);
	CHECK(time(NULL) - began < TIME_S_MAX);
}

const struct test_case test_case = {
	.proves = "many ptys are restored in little time, whatever the order of their numbers",
	.before = before,
	.after = after,
	.criu_fails = "it finds no pty whose number is hundreds above the lowest free one",
};
