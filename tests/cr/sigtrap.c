// SPDX-License-Identifier: MIT
/* sigtrap.c - SIGTRAP, blocked and pending for the process and for a thread, and its handler. */
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static volatile sig_atomic_t handled;
static sigset_t set;

static void on_trap(int signo)
{
	(void)signo;
	handled++;
}

static void before(void)
{
	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	CHECK(signal(SIGTRAP, on_trap) != SIG_ERR);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	CHECK(kill(getpid(), SIGTRAP) == 0);
	CHECK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTRAP) == 0);
}

static void after(void)
{
	struct sigaction act;

	CHECK(handled == 0);
	CHECK(sigaction(SIGTRAP, NULL, &act) == 0 && act.sa_handler == on_trap);
	CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
	CHECK(handled == 2);
	raise(SIGTRAP);
	CHECK(handled == 3);
}

const struct test_case test_case = {
	.proves = "a pending SIGTRAP stays pending, its handler stays",
	.criu_fails = "CRIU 4.2 refuses to dump a task that blocks SIGTRAP",
	.before = before,
	.after = after,
};
