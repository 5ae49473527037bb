// SPDX-License-Identifier: MIT
/*
 * threads.c - identities of threads: tid, name, thread-local storage, robust
 * mutexes, join (clear_child_tid), a mutex held and a condition waited for.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

enum { THREADS = 20 };

static _Thread_local pid_t my_tid;
static pthread_t threads[THREADS];
static pid_t tids[THREADS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, robust;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int go_on, waiting;

static void *body(void *arg)
{
	long n = (long)arg;
	char name[17], now[17] = "";
	void *head;
	size_t len;

	my_tid = gettid();
	__atomic_store_n(&tids[n], my_tid, __ATOMIC_RELEASE);
	snprintf(name, sizeof(name), "thread %ld", n);
	CHECK(prctl(PR_SET_NAME, name) == 0);
	if (n == 0)
		CHECK(pthread_mutex_lock(&robust) == 0);	/* and dies with it */
	CHECK(pthread_mutex_lock(&lock) == 0);
	waiting++;
	while (!go_on)
		CHECK(pthread_cond_wait(&cond, &lock) == 0);
	CHECK(pthread_mutex_unlock(&lock) == 0);
	CHECK(gettid() == tids[n] && my_tid == tids[n]);
	CHECK(prctl(PR_GET_NAME, now) == 0 && !strcmp(now, name));
	CHECK(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head != NULL && len == 24);
	return (void *)(n * 3);
}

static int count_waiting(void)
{
	int n;

	pthread_mutex_lock(&lock);
	n = waiting;
	pthread_mutex_unlock(&lock);
	return n;
}

static void before(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	CHECK(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
	CHECK(pthread_mutex_init(&robust, &attr) == 0);
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	/* All have given the lock back, so where they sleep now is the condition. */
	while (count_waiting() < THREADS)
		case_sleep_ms(1);
	for (int i = 0; i < THREADS; i++)
		case_await_call(&tids[i], SYS_futex);
}

static void after(void)
{
	void *result;

	pthread_mutex_lock(&lock);
	go_on = 1;
	pthread_mutex_unlock(&lock);
	CHECK(pthread_cond_broadcast(&cond) == 0);
	for (long i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], &result) == 0);
		CHECK(result == (void *)(i * 3));
	}
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
}

const struct test_case test_case = {
	.proves = "threads keep tid, name, thread-local data, robust list and joinability",
	.before = before,
	.after = after,
};
