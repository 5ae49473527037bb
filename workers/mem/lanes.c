/* SPDX-License-Identifier: MIT */
/*
 * lanes.c - work on several tasks at once.
 *
 * Rights:   none.
 * Holds:    the threads, until lanes_run returns.
 */
#include "workers/mem/lanes.h"

#include <pthread.h>
#include <unistd.h>

#define LANES_MAX 16

struct lanes {
	size_t n, next;
	bool failed;
	int (*one)(void *ctx, size_t i, struct fault *f);
	void *ctx;
};

struct lane {
	struct lanes *all;
	struct fault f;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct lane *l = arg;
	struct lanes *all = l->all;
	size_t i;

	while (!__atomic_load_n(&all->failed, __ATOMIC_RELAXED)) {
		i = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED);
		if (i >= all->n)
			break;
		if (all->one(all->ctx, i, &l->f) < 0)
			__atomic_store_n(&all->failed, true, __ATOMIC_RELAXED);
	}
	return NULL;
}

int lanes_run(size_t n, bool parallel, int (*one)(void *ctx, size_t i, struct fault *f), void *ctx,
	      struct fault *f)
{
	struct lanes all = { .n = n, .one = one, .ctx = ctx };
	long cpus = parallel ? sysconf(_SC_NPROCESSORS_ONLN) : 1;
	struct lane lane[LANES_MAX] = { 0 };
	size_t lanes = 1, i;

	for (i = 0; i < LANES_MAX; i++)
		lane[i].all = &all;
	while (lanes < LANES_MAX && (long)lanes < cpus && lanes < n &&
	       !pthread_create(&lane[lanes].thread, NULL, run, &lane[lanes]))
		lanes++;
	run(&lane[0]);
	for (i = 1; i < lanes; i++)
		pthread_join(lane[i].thread, NULL);
	for (i = 0; i < lanes; i++)
		if (lane[i].f.code)
			return fault(f, -lane[i].f.code, "%s", lane[i].f.text);
	return 0;
}
