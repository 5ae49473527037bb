// SPDX-License-Identifier: MIT
/*
 * dispatch.c - a task that has its system calls dispatched to itself (as Wine does) is left alone.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
enum { LET_PASS, CATCH };		/* SYSCALL_DISPATCH_FILTER_* */

static volatile char selector = LET_PASS;
static volatile int caught;

static void on_sigsys(int signo)
{
	selector = LET_PASS;
	caught = signo;
}

static void before(void)
{
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) < 0)
		case_skip("no PR_SET_SYSCALL_USER_DISPATCH");
	CHECK(signal(SIGSYS, on_sigsys) != SIG_ERR);
}

static void after(void)
{
	selector = CATCH;
	syscall(SYS_getppid);
	CHECK(caught == SIGSYS && selector == LET_PASS);
}

const struct test_case test_case = {
	.proves = "a task that catches its own system calls is refused and not harmed",
	.later = "PR_SET_SYSCALL_USER_DISPATCH: an agent's calls would be caught too",
	.criu_fails = "CRIU 4.2 does not look for it",
	.before = before,
	.after = after,
};
