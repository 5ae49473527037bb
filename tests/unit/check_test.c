/* SPDX-License-Identifier: MIT */
/*
 * check_test.c - a condition that fails in a child, in a child's thread or between tests is
 * counted.
 */
#include "tests/unit/check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4, FAILURES = 500 };

static void *fail_often(void *arg)
{
	int i;

	for (i = 0; i < FAILURES; i++)
		check_that(false, "on purpose", __FILE__, __LINE__);
	return arg;
}

static void child(void)
{
	pthread_t thread;

	if (!freopen("/dev/null", "w", stderr) || pthread_create(&thread, NULL, fail_often, NULL))
		_exit(1);
	fail_often(NULL);
	_exit(pthread_join(thread, NULL));
}

static void test_children(void)
{
	int i, status, counted;

	for (i = 0; i < CHILDREN; i++)
		if (fork() == 0)
			child();
	for (i = 0; i < CHILDREN; i++)
		CHECK(wait(&status) > 0 && status == 0);
	counted = check_state()->broken;
	check_state()->broken = 0;
	CHECK(counted == CHILDREN * 2 * FAILURES);
}

static void nothing(void)
{
}

/* In a child, whose words nobody is to count. */
static void test_strays(void)
{
	struct check_state *s = check_state(), before = *s, after;
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(1);
		CHECK(false);
		check_run("a good one", nothing);
		CHECK(false);
		_exit(check_done() == 1 ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	after = *s;
	*s = before;
	CHECK(status == 0);
	CHECK(after.failed == before.failed + 2 && after.passed == before.passed + 1);
}

int main(void)
{
	check_run("what fails in a child is counted, and nothing twice", test_children);
	check_run("what fails between tests is counted", test_strays);
	return check_done();
}
