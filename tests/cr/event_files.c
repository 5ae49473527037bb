// SPDX-License-Identifier: MIT
/* event_files.c - eventfd, timerfd, signalfd and epoll, with what they hold. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../case.h"

static int event, timer, late, sigfd, epoll, p[2];

static void watch(int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = { .events = events, .data.u64 = data };

	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void before(void)
{
	struct itimerspec its = { { 0, 20000000 }, { 300, 0 } };
	struct itimerspec far = { { 0, 0 }, { 5000, 0 } };
	union sigval v = { .sival_int = 31 };
	sigset_t set;

	event = eventfd(12345, EFD_CLOEXEC);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	late = timerfd_create(CLOCK_REALTIME, 0);
	CHECK(timerfd_settime(timer, 0, &its, NULL) == 0 &&
	      timerfd_settime(late, 0, &far, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 4);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	sigfd = signalfd(-1, &set, SFD_NONBLOCK);
	CHECK(sigqueue(getpid(), SIGRTMIN + 4, v) == 0);
	CHECK(pipe(p) == 0);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	watch(event, EPOLLIN, 1ull << 40);
	watch(p[0], EPOLLIN | EPOLLET, 22);
	watch(sigfd, EPOLLIN | EPOLLONESHOT, 33);
	CHECK(event >= 0 && sigfd >= 0 && epoll >= 0);
}

static uint64_t read_count(int fd)
{
	uint64_t n = 0;

	CHECK(read(fd, &n, 8) == 8);
	return n;
}

static unsigned int ready_set(void)
{
	struct epoll_event e[8];
	unsigned int seen = 0;
	int n = epoll_wait(epoll, e, 8, 100);

	for (int i = 0; i < n; i++)
		seen |= e[i].data.u64 == 1ull << 40 ? 1 : e[i].data.u64 == 22 ? 2 :
			e[i].data.u64 == 33 ? 4 : 8;
	return seen;
}

static void after(void)
{
	struct signalfd_siginfo info;
	struct itimerspec its;

	CHECK(ready_set() == (1 | 4));
	CHECK(read_count(event) == 12345);
	CHECK(write(p[1], "x", 1) == 1);
	CHECK(ready_set() == 2);			/* sigfd was one shot */
	CHECK(ready_set() == 0);			/* and the pipe edge triggered */
	CHECK(read(sigfd, &info, sizeof(info)) == sizeof(info));
	CHECK(info.ssi_signo == (uint32_t)SIGRTMIN + 4 && info.ssi_int == 31);
	CHECK(timerfd_gettime(timer, &its) == 0 && its.it_interval.tv_nsec == 20000000 &&
	      its.it_value.tv_sec > 180 && its.it_value.tv_sec <= 300);
	CHECK(fcntl(timer, F_GETFL) & O_NONBLOCK);
	CHECK(timerfd_gettime(late, &its) == 0 && its.it_value.tv_sec > 4800 &&
	      its.it_value.tv_sec <= 5000);
}

const struct test_case test_case = {
	.proves = "eventfd, timerfd, signalfd and epoll keep counts, times and interests",
	.before = before,
	.after = after,
};
