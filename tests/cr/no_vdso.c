// SPDX-License-Identifier: MIT
/*
 * no_vdso.c - tasks that have unmapped their vDSO: one with a single thread, one with several.
 *
 * The dump's stub usually lies in the vDSO; without one it lies behind the code of a file. The
 * children look at that code before and after.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../case.h"

enum { THREADS = 40 };

static pid_t single, many;
static volatile int stop;
static volatile int turns[THREADS];

static bool is_kernel_area(const char *line)
{
	return strstr(line, "[vdso]") || strstr(line, "[vvar");
}

static int each_area(bool unmap)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	char line[512];
	int n = 0;

	if (!CHECK(f))
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!is_kernel_area(line) || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		n++;
		if (unmap)
			CHECK(munmap((void *)start, end - start) == 0);
	}
	fclose(f);
	return n;
}

/* A sum over all code that is mapped from files. */
static uint64_t code_sum(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	uint64_t sum = 0;
	char line[512];

	if (!CHECK(f))
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "r-xp") || !strchr(line, '/') ||
		    sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		for (const uint64_t *p = (void *)start; p < (uint64_t *)end; p++)
			sum = sum * 31 + *p;
	}
	fclose(f);
	return sum;
}

static void *turn(void *arg)
{
	volatile int *mine = arg;

	while (!stop) {
		case_sleep_ms(1);
		(*mine)++;
	}
	return NULL;
}

static void child(int nthreads)
{
	pthread_t thread[THREADS];
	int before[THREADS], i;
	uint64_t sum;

	CHECK(each_area(true) > 0);
	for (i = 0; i < nthreads; i++)
		CHECK(pthread_create(&thread[i], NULL, turn, (void *)&turns[i]) == 0);
	sum = code_sum();
	case_child_wait();
	CHECK(each_area(false) == 0);
	CHECK(code_sum() == sum);
	for (i = 0; i < nthreads; i++)
		before[i] = turns[i];
	for (i = 0; i < nthreads; i++)
		while (turns[i] == before[i])
			case_sleep_ms(1);
	stop = 1;
	for (i = 0; i < nthreads; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
	_exit(0);
}

static void before(void)
{
	single = fork();
	if (!single)
		child(0);
	many = fork();
	if (!many)
		child(THREADS);
	CHECK(single > 0 && many > 0);
	case_children_wait(2);
}

static void after(void)
{
	case_release();
	case_child_ok(single);
	case_child_ok(many);
}

const struct test_case test_case = {
	.proves = "tasks without a vDSO are dumped, have none afterwards, and their code is "
		  "unchanged",
	.before = before,
	.after = after,
};
