// SPDX-License-Identifier: MIT
/* timers.c - interval timers and POSIX timers: what is left, period, signal, overrun. */
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "../case.h"

static timer_t slow, fast, silent;
static volatile sig_atomic_t slow_value = -1;

static void on_slow(int sig, siginfo_t *info, void *ctx)
{
	(void)sig, (void)ctx;
	slow_value = info->si_value.sival_int;
}

static void make_timer(timer_t *t, int notify, int sig, int value, time_t first, long period_ns)
{
	struct sigevent ev = { .sigev_notify = notify, .sigev_signo = sig };
	struct itimerspec its = { .it_value.tv_sec = first, .it_interval.tv_nsec = period_ns };

	ev.sigev_value.sival_int = value;
	if (!first)
		its.it_value.tv_nsec = period_ns;
	CHECK(timer_create(CLOCK_MONOTONIC, &ev, t) == 0);
	CHECK(timer_settime(*t, 0, &its, NULL) == 0);
}

static void before(void)
{
	struct itimerval itv = { .it_value.tv_sec = 1000, .it_interval.tv_usec = 250000 };
	struct sigaction sa = { .sa_sigaction = on_slow, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigset_t set;

	sigaction(SIGRTMIN + 1, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);		/* the fast timer only overruns */
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(setitimer(ITIMER_REAL, &itv, NULL) == 0);
	itv.it_value.tv_sec = 2000;
	CHECK(setitimer(ITIMER_VIRTUAL, &itv, NULL) == 0);
	itv.it_value.tv_sec = 3000;
	CHECK(setitimer(ITIMER_PROF, &itv, NULL) == 0);
	make_timer(&slow, SIGEV_SIGNAL, SIGRTMIN + 1, 4711, 3000, 0);
	make_timer(&fast, SIGEV_SIGNAL, SIGRTMIN + 2, 12, 0, 5000000);
	make_timer(&silent, SIGEV_NONE, 0, 0, 500, 7000000);
}

static void check_itimer(int which, time_t value)
{
	struct itimerval itv;

	CHECK(getitimer(which, &itv) == 0);
	CHECK(itv.it_value.tv_sec >= value - 120 && itv.it_value.tv_sec <= value);
	CHECK(itv.it_interval.tv_sec == 0 && itv.it_interval.tv_usec == 250000);
}

static void check_fast(void)
{
	struct timespec wait = { 1, 0 };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	CHECK(sigtimedwait(&set, &info, &wait) == SIGRTMIN + 2);
	CHECK(info.si_code == SI_TIMER && info.si_value.sival_int == 12);
	/* That one was pending at the dump; the next says how many it stands for. */
	CHECK(sigtimedwait(&set, &info, &wait) == SIGRTMIN + 2);
	case_sleep_ms(60);
	CHECK(sigtimedwait(&set, &info, &wait) == SIGRTMIN + 2);
	CHECK(info.si_code == SI_TIMER && info.si_overrun > 0);
}

static void after(void)
{
	struct itimerspec its;
	int i;

	check_itimer(ITIMER_REAL, 1000);
	check_itimer(ITIMER_VIRTUAL, 2000);
	check_itimer(ITIMER_PROF, 3000);
	CHECK(timer_gettime(slow, &its) == 0);
	CHECK(its.it_value.tv_sec > 2880 && its.it_value.tv_sec <= 3000);
	CHECK(its.it_interval.tv_sec == 0 && its.it_interval.tv_nsec == 0);
	CHECK(timer_gettime(silent, &its) == 0);
	CHECK(its.it_value.tv_sec > 380 && its.it_interval.tv_nsec == 7000000);
	check_fast();
	CHECK(slow_value == -1);
	memset(&its, 0, sizeof(its));
	its.it_value.tv_nsec = 1000000;
	CHECK(timer_settime(slow, 0, &its, NULL) == 0);
	for (i = 0; i < 5000 && slow_value == -1; i++)
		case_sleep_ms(1);
	CHECK(slow_value == 4711);
	CHECK(timer_delete(fast) == 0);
}

const struct test_case test_case = {
	.proves = "interval and POSIX timers keep their time, period, signal and value",
	.before = before,
	.after = after,
};
