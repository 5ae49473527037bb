// SPDX-License-Identifier: MIT
/*
 * letrun_test.c - of a frozen task one thread runs for a while, without its signals, and stands
 * again as it was.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "coordinator/freeze.h"
#include "coordinator/letrun.h"

struct page {
	volatile unsigned long count;	/* of the helper's rounds */
	volatile int signals;
	volatile pid_t helper;
};

static struct page *page;

static void nap(int ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000l };

	nanosleep(&t, NULL);
}

static void on_usr1(int signo)
{
	(void)signo;
	page->signals++;
}

static void *help(void *unused)
{
	page->helper = syscall(SYS_gettid);
	for (;; page->count++)
		nap(1);
	return unused;
}

static _Noreturn void target(void)
{
	sigset_t set;
	pthread_t t;

	setsid();
	signal(SIGUSR1, on_usr1);
	pthread_create(&t, NULL, help, NULL);
	/* Signals are the helper's: the only one who does not block them. */
	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (;;)
		pause();
}

static bool moves(void)
{
	unsigned long before = page->count;

	nap(60);
	return page->count != before;
}

static void look(struct job *job, pid_t pid)
{
	HelperThread who = HELPER_THREAD__INIT, nobody = HELPER_THREAD__INIT;
	struct fault f = { 0 };
	struct letrun r;
	uint64_t mask = 0;

	who.pid = nobody.pid = pid;
	who.tid = page->helper;
	nobody.tid = 1;
	CHECK(!moves());
	CHECK(letrun_begin(job, &nobody, &r, &f) < 0 && letrun_end(&r, &f) == 0);
	f = (struct fault){ 0 };
	if (!CHECK(letrun_begin(job, &who, &r, &f) == 0))
		return;
	CHECK(moves());
	kill(pid, SIGUSR1);
	CHECK(moves() && page->signals == 0);
	CHECK(letrun_end(&r, &f) == 0);
	CHECK(!moves() && page->signals == 0);
	CHECK(letrun_end(&r, &f) == 0);	/* twice is once */
	CHECK(ptrace(PTRACE_GETSIGMASK, who.tid, sizeof(mask), &mask) == 0 && mask == 0);
	CHECK(thread_frozen(r.thread)->sigmask == 0);
}

static void test_let_run(void)
{
	Options opts = OPTIONS__INIT;
	static struct job job;		/* its tasks are never freed */
	struct fault f = { 0 };
	int i;

	job.opts = &opts;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	opts.pid = fork();
	if (!opts.pid)
		target();
	for (i = 0; i < 200 && !page->count; i++)
		nap(10);
	opts.has_pid = opts.has_timeout_s = true;
	opts.timeout_s = 10;
	if (CHECK(freeze_tree(&job, &f) == 0)) {
		look(&job, opts.pid);
		thaw_tree(&job, THAW_RUN);
		CHECK(moves() && page->signals == 1);
	}
	kill(opts.pid, SIGKILL);
	waitpid(opts.pid, NULL, 0);
}

int main(void)
{
	if (geteuid()) {
		printf("skip - all: needs root\n");
		return 77;
	}
	check_run("one thread of a frozen task runs without its signals, and stands again",
		  test_let_run);
	return check_done();
}
