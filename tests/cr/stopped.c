// SPDX-License-Identifier: MIT
/*
 * stopped.c - stopped tasks: by each of the signals that do it, with one thread and with several,
 * in a process group of their own and beside a zombie; and one that is about to be.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../case.h"

enum { SEEN, UNSEEN };			/* has the parent waited for the stop? */

static const struct kind {
	int signo, seen, threads;
} kinds[] = {
	{ SIGSTOP, UNSEEN, 1 },
	{ SIGSTOP, SEEN, 1 },
	{ SIGTSTP, UNSEEN, 1 },
	{ SIGSTOP, UNSEEN, 3 },
	{ SIGTSTP, SEEN, 3 },
};
#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

static pid_t kids[KINDS], zombie, pending;
static atomic_int *ready, *running;

static void *count(void *arg)
{
	atomic_fetch_add(ready, 1);
	for (;;) {
		atomic_store((atomic_int *)arg, 1);
		case_sleep_ms(1);
	}
	return arg;
}

static void stand(const struct kind *k, atomic_int *mark)
{
	pthread_t thread;
	int i;

	CHECK(setpgid(0, 0) == 0);
	for (i = 1; i < k->threads; i++)
		CHECK(pthread_create(&thread, NULL, count, mark) == 0);
	count(mark);
}

/* A stop signal that is blocked stops nobody yet. */
static void hold_back(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	raise(SIGTSTP);
	atomic_fetch_add(ready, 1);
	case_child_wait();
	CHECK(sigpending(&set) == 0 && sigismember(&set, SIGTSTP));
	exit(0);
}

static void stop(const struct kind *k, pid_t pid)
{
	siginfo_t info = { 0 };

	CHECK(kill(pid, k->signo) == 0);
	CHECK(waitid(P_PID, pid, &info, WSTOPPED | (k->seen == SEEN ? 0 : WNOWAIT)) == 0);
	CHECK(info.si_code == CLD_STOPPED && info.si_status == k->signo);
}

static void before(void)
{
	int i, threads = 1;

	ready = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(ready != MAP_FAILED);
	running = ready + 1;
	for (i = 0; i < KINDS; i++) {
		kids[i] = fork();
		if (kids[i] == 0)
			stand(&kinds[i], &running[i]);
		threads += kinds[i].threads;
	}
	pending = fork();
	if (pending == 0)
		hold_back();
	zombie = fork();
	if (zombie == 0)
		_exit(5);
	while (atomic_load(ready) != threads)
		case_sleep_ms(1);
	for (i = 0; i < KINDS; i++)
		stop(&kinds[i], kids[i]);
	for (i = 0; i < KINDS; i++)
		atomic_store(&running[i], 0);
}

static void check_stopped(const struct kind *k, pid_t pid, const atomic_int *mark)
{
	siginfo_t info = { 0 };

	CHECK(atomic_load(mark) == 0);
	CHECK(waitid(P_PID, pid, &info, WSTOPPED | WNOHANG) == 0);
	/* A restore makes the stop anew, so its parent is told once more even where it knew. */
	CHECK(info.si_pid == pid || k->seen == SEEN);
	if (info.si_pid)
		CHECK(info.si_code == CLD_STOPPED && info.si_status == k->signo);
	CHECK(kill(pid, SIGCONT) == 0);
	CHECK(waitid(P_PID, pid, &info, WCONTINUED) == 0 && info.si_code == CLD_CONTINUED);
	while (atomic_load(mark) != 1)
		case_sleep_ms(1);
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitid(P_PID, pid, &info, WEXITED) == 0 && info.si_code == CLD_KILLED);
}

static void after(void)
{
	int i, status;

	for (i = 0; i < KINDS; i++)
		check_stopped(&kinds[i], kids[i], &running[i]);
	case_release();
	case_child_ok(pending);
	CHECK(waitpid(zombie, &status, 0) == zombie && WIFEXITED(status) &&
	      WEXITSTATUS(status) == 5);
}

const struct test_case test_case = {
	.proves = "a stopped task stays stopped by its signal until it is told to go on",
	.before = before,
	.after = after,
};
