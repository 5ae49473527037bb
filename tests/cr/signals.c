// SPDX-License-Identifier: MIT
/*
 * signals.c - actions, blocked masks, alternate stacks and queued signals
 * with values, for the process and for one thread.
 */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

enum { ALT_SIZE = 64 * 1024 };

static pthread_t thread;
static volatile int ready, go_on;
static char *alt;
static volatile int on_alt;

static void handler(int sig, siginfo_t *info, void *ctx)
{
	char here;

	(void)sig, (void)info, (void)ctx;
	on_alt = &here >= alt && &here < alt + ALT_SIZE;
}

static void queue(int sig, int value)
{
	union sigval v = { .sival_int = value };

	CHECK(sigqueue(getpid(), sig, v) == 0);
}

static void expect(int sig, int code, int value)
{
	struct timespec now = { 0, 0 };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	memset(&info, 0, sizeof(info));
	/* the bare call: glibc's changes SI_TKILL to SI_USER */
	CHECK(syscall(SYS_rt_sigtimedwait, &set, &info, &now, 8) == sig);
	CHECK(info.si_code == code);
	CHECK(value < 0 || info.si_value.sival_int == value);
	CHECK(info.si_pid == getpid() && info.si_uid == getuid());
}

static void *second(void *arg)
{
	sigset_t set, now;

	(void)arg;
	sigfillset(&set);
	sigdelset(&set, SIGTERM);
	CHECK(pthread_sigmask(SIG_SETMASK, &set, NULL) == 0);
	CHECK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2) == 0);
	ready = 1;
	while (!go_on)
		case_sleep_ms(5);
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
	CHECK(!sigismember(&now, SIGTERM) && sigismember(&now, SIGUSR2));
	CHECK(sigismember(&now, SIGRTMAX));
	CHECK(sigpending(&now) == 0 && sigismember(&now, SIGUSR2));
	expect(SIGUSR2, SI_TKILL, -1);
	return NULL;
}

static void before(void)
{
	struct sigaction sa = { .sa_sigaction = handler };
	stack_t ss = { .ss_size = ALT_SIZE };
	sigset_t set;

	alt = mmap(NULL, ALT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ss.ss_sp = alt;
	CHECK(sigaltstack(&ss, NULL) == 0);
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART;
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGHUP);
	sigaddset(&sa.sa_mask, SIGRTMAX);
	CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
	signal(SIGPIPE, SIG_IGN);
	CHECK(pthread_create(&thread, NULL, second, NULL) == 0);
	while (!ready)
		case_sleep_ms(5);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGRTMIN + 5);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGHUP);
	CHECK(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
	for (int i = 0; i < 20; i++)
		queue(SIGRTMIN, 100 + i);
	queue(SIGRTMIN + 5, -7);
	CHECK(kill(getpid(), SIGHUP) == 0);
}

static void check_actions(void)
{
	struct sigaction sa;
	stack_t ss;

	CHECK(sigaction(SIGUSR1, NULL, &sa) == 0);
	CHECK(sa.sa_sigaction == handler);
	CHECK((sa.sa_flags & (SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART)) ==
	      (SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART));
	CHECK(sigismember(&sa.sa_mask, SIGHUP) && sigismember(&sa.sa_mask, SIGRTMAX));
	CHECK(sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN);
	CHECK(sigaction(SIGTERM, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
	CHECK(sigaltstack(NULL, &ss) == 0);
	CHECK(ss.ss_sp == alt && ss.ss_size == ALT_SIZE && !(ss.ss_flags & SS_DISABLE));
}

static void after(void)
{
	sigset_t set;

	check_actions();
	CHECK(sigprocmask(SIG_SETMASK, NULL, &set) == 0);
	CHECK(sigismember(&set, SIGRTMIN) && sigismember(&set, SIGHUP) &&
	      !sigismember(&set, SIGUSR1));
	for (int i = 0; i < 20; i++)		/* all of them, in order */
		expect(SIGRTMIN, SI_QUEUE, 100 + i);
	expect(SIGRTMIN + 5, SI_QUEUE, -1);
	expect(SIGHUP, SI_USER, -1);
	CHECK(raise(SIGUSR1) == 0 && on_alt == 1);
	go_on = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "signal actions, masks, alternate stacks and queued signals are kept",
	.before = before,
	.after = after,
};
