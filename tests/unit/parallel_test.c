/* SPDX-License-Identifier: MIT */
/*
 * parallel_test.c - every item is done once, whatever their number; a fault comes back.
 */
#include "workers/common/parallel.h"

#include <errno.h>
#include <string.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

struct work {
	unsigned *times;
	size_t bad;		/* this item fails */
};

static int do_item(void *ctx, size_t i, struct fault *f)
{
	struct work *w = ctx;

	__atomic_add_fetch(&w->times[i], 1, __ATOMIC_RELAXED);
	return i == w->bad ? fault(f, -EIO, "item %zu", i) : 0;
}

static void test_once(void)
{
	static const size_t numbers[] = { 0, 1, 31, 32, 128, 129, 10007 };
	size_t i, k;

	for (i = 0; i < ARRAY_LEN(numbers); i++) {
		AUTO_FREE unsigned *times = xcalloc(numbers[i], sizeof(*times));
		struct work w = { times, SIZE_MAX };
		struct fault f = { 0 };

		CHECK(parallel_join(parallel_start(numbers[i], do_item, &w), &f) == 0 && !f.code);
		for (k = 0; k < numbers[i]; k++)
			CHECK(times[k] == 1);
	}
}

static void test_fault(void)
{
	static const size_t bad[] = { 0, 100, 4999 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FREE unsigned *times = xcalloc(5000, sizeof(*times));
		AUTO_FREE char *text = xasprintf("item %zu", bad[i]);
		struct work w = { times, bad[i] };
		struct fault f = { 0 };

		CHECK(parallel_join(parallel_start(5000, do_item, &w), &f) < 0);
		CHECK(f.code == EIO && strcmp(f.text, text) == 0);
	}
}

int main(void)
{
	check_run("every item is done exactly once", test_once);
	check_run("a fault ends the work and is reported", test_fault);
	return check_done();
}
