// SPDX-License-Identifier: MIT
/*
 * rseq.c - restartable sequences: the registration that glibc made for each
 * thread is still in force, so the kernel keeps the cpu number current.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

static pthread_t thread;
static volatile int go_on;

static volatile struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* Move over all CPUs; the kernel must write each number into the area. */
static void check_follows(void)
{
	cpu_set_t all, one;

	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
		CHECK(area()->cpu_id == (uint32_t)cpu && area()->cpu_id_start == (uint32_t)cpu);
	}
	CHECK(sched_setaffinity(0, sizeof(all), &all) == 0);
	/* a second registration at another address is refused while one is there */
	CHECK(syscall(SYS_rseq, (char *)area() + 32, 32, 0, RSEQ_SIG) < 0);
}

static void *body(void *arg)
{
	(void)arg;
	while (!go_on)
		case_sleep_ms(5);
	check_follows();
	return NULL;
}

static void before(void)
{
	if (__rseq_size == 0)
		case_skip("libc has not registered rseq");
	CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
}

static void after(void)
{
	check_follows();
	go_on = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

const struct test_case test_case = {
	.proves = "the rseq area of each thread is registered still",
	.before = before,
	.after = after,
};
