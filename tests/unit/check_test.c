/* SPDX-License-Identifier: MIT */
/*
 * check_test.c - a condition that fails in a child, or in a child's thread, is counted.
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

int main(void)
{
	check_run("what fails in a child is counted, and nothing twice", test_children);
	return check_done();
}
