// SPDX-License-Identifier: MIT
/*
 * sleepers.c - system calls that were asleep at the dump.
 *
 * A call that the kernel restarts by itself after a signal without handler
 * (ERESTARTSYS, ERESTARTNOHAND) must go on as if nothing had been. One that
 * continues through a restart block (nanosleep, poll, futex with a relative
 * time) may give EINTR after a thaw, as with CRIU, but then must tell the right
 * rest, and must not return early without an error.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../case.h"

enum { LONG_S = 300 };

static int to_reader[2], never[2];
static uint32_t word;
static volatile int wake_all;

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *reader(void *arg)
{
	char c = 0;

	(void)arg;
	CHECK(read(to_reader[0], &c, 1) == 1 && c == '!');
	return NULL;
}

static void *pauser(void *arg)
{
	sigset_t set;
	int sig;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK(sigwait(&set, &sig) == 0 && sig == SIGUSR1);
	return NULL;
}

static void *futex_waiter(void *arg)
{
	(void)arg;
	/* no time: restarted by the kernel, so only a wake-up ends it */
	while (!wake_all)
		CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == 0 ||
		      errno == EAGAIN);
	return NULL;
}

static void *absolute(void *arg)
{
	struct timespec end;
	double want;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 5;
	want = end.tv_sec + end.tv_nsec / 1e9;
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == 0);
	CHECK(now_s() >= want);
	return NULL;
}

static void *relative(void *arg)
{
	struct timespec left = { LONG_S, 0 };
	double began = now_s(), spent;

	(void)arg;
	while (!wake_all) {
		if (nanosleep(&left, &left) == 0)
			break;
		spent = now_s() - began;
		CHECK(errno == EINTR);
		/* frozen time may count or not */
		CHECK(left.tv_sec + left.tv_nsec / 1e9 + spent >= LONG_S - 0.1);
		CHECK(left.tv_sec < LONG_S);
	}
	CHECK(wake_all || now_s() - began >= LONG_S);
	return NULL;
}

static void *poller(void *arg)
{
	struct pollfd p = { .fd = never[0], .events = POLLIN };
	double began = now_s();
	int r;

	(void)arg;
	while (!wake_all) {
		r = poll(&p, 1, LONG_S * 1000);
		CHECK(wake_all || (r < 0 && errno == EINTR) || now_s() - began >= LONG_S);
	}
	return NULL;
}

static void on_usr2(int sig)
{
	(void)sig;
}

static struct sleeper {
	void *(*body)(void *);
	long call;			/* it sleeps there */
	pid_t tid;			/* set by itself */
	pthread_t thread;
} sleepers[] = {
	{ reader, SYS_read, 0, 0 },
	{ pauser, SYS_rt_sigtimedwait, 0, 0 },
	{ futex_waiter, SYS_futex, 0, 0 },
	{ absolute, SYS_clock_nanosleep, 0, 0 },
	{ relative, SYS_clock_nanosleep, 0, 0 },
	{ poller, SYS_poll, 0, 0 },
};

enum { SLEEPERS = sizeof(sleepers) / sizeof(sleepers[0]), RELATIVE = 4, POLLER = 5 };

static void *start(void *arg)
{
	struct sleeper *s = arg;

	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	return s->body(NULL);
}

static void before(void)
{
	struct sigaction sa = { .sa_handler = on_usr2 };
	sigset_t set;

	sigaction(SIGUSR2, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(pipe(to_reader) == 0 && pipe(never) == 0);
	for (int i = 0; i < SLEEPERS; i++)
		CHECK(pthread_create(&sleepers[i].thread, NULL, start, &sleepers[i]) == 0);
	for (int i = 0; i < SLEEPERS; i++)
		case_await_call(&sleepers[i].tid, sleepers[i].call);
}

static void after(void)
{
	CHECK(write(to_reader[1], "!", 1) == 1);
	CHECK(kill(getpid(), SIGUSR1) == 0);
	wake_all = 1;
	__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0);
	pthread_kill(sleepers[RELATIVE].thread, SIGUSR2);
	pthread_kill(sleepers[POLLER].thread, SIGUSR2);
	for (int i = 0; i < SLEEPERS; i++)
		CHECK(pthread_join(sleepers[i].thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "sleeping system calls go on, or say EINTR with the right rest",
	.before = before,
	.after = after,
};
