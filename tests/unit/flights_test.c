/* SPDX-License-Identifier: MIT */
/*
 * flights_test.c - files in flight are found by id, each needed once, however many there are.
 */
#include "workers/net/flights.h"

#include <stdlib.h>
#include <time.h>

#include "tests/unit/check.h"
#include "workers/net/kind.h"

/* Ids as images have them: close together, or far apart. */
static uint32_t id_of(size_t i, uint32_t stride)
{
	return 1 + i * stride;
}

static double need_all(size_t n, uint32_t stride)
{
	struct net net = { 0 };
	struct timespec a, b;
	uint32_t *ids;
	size_t i, bad = 0;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	for (i = 0; i < 2 * n; i++)
		net_need_file(&net, id_of(i % n, stride));
	for (i = 0; i < n; i++)
		bad += net_file(&net, id_of(i, stride)) != -1;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	CHECK(flights_needed(&net, &ids) == n);
	for (i = 0; i < n; i++)
		bad += ids[i] != id_of(i, stride);
	CHECK(bad == 0);
	free(ids);
	flights_end(&net);
	return (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9;
}

static void test_each_once(void)
{
	need_all(1, 1);
	need_all(5000, 1);
	need_all(5000, 0x10001);
	need_all(4096, 1u << 20);	/* equal low halves */
}

/* A search through all would take minutes for the second. */
static void test_many(void)
{
	CHECK(need_all(5000, 1) < 0.1);
	CHECK(need_all(500000, 1) < 10);
}

static void test_none(void)
{
	struct net net = { 0 };
	uint32_t *ids;

	CHECK(net_file(&net, 1) == -1);
	CHECK(flights_needed(&net, &ids) == 0);
	free(ids);
}

int main(void)
{
	check_run("a file that is needed twice is asked for once", test_each_once);
	check_run("files in flight are found in little time", test_many);
	check_run("nothing is in flight", test_none);
	return check_done();
}
