/* SPDX-License-Identifier: MIT */
/*
 * parallel.c - do the same thing to many items with a few threads.
 *
 * Threads take chunks of items from a common counter until there are none. They inherit the signal
 * mask, touch nothing but their items, and end with the work: no pool is kept.
 *
 * Rights:   none.
 * Holds:    the threads from parallel_start to parallel_join.
 */
#include "workers/common/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "proto/control/util.h"

#define FEW 128			/* items for which a thread does not pay */
#define CHUNK 32
#define THREADS_MAX 8

struct parallel {
	size_t n, next;
	parallel_work *work;
	void *ctx;
	pthread_mutex_t lock;	/* of fault */
	struct fault fault;
	bool failed;
	pthread_t thread[THREADS_MAX];
	size_t nthreads;
};

static void do_item(struct parallel *p, size_t i)
{
	struct fault f = { 0 };

	if (p->work(p->ctx, i, &f) == 0)
		return;
	pthread_mutex_lock(&p->lock);
	if (!p->failed)
		p->fault = f;
	__atomic_store_n(&p->failed, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&p->lock);
}

static void *do_items(void *arg)
{
	struct parallel *p = arg;
	size_t i, end;

	for (;;) {
		i = __atomic_fetch_add(&p->next, CHUNK, __ATOMIC_RELAXED);
		if (i >= p->n)
			return NULL;
		end = i + CHUNK < p->n ? i + CHUNK : p->n;
		for (; i < end && !__atomic_load_n(&p->failed, __ATOMIC_ACQUIRE); i++)
			do_item(p, i);
	}
}

/* One thread fewer than processors: the caller has work of its own. */
static size_t thread_count(void)
{
	cpu_set_t cpus;
	size_t n = sched_getaffinity(0, sizeof(cpus), &cpus) < 0 ? 1 : CPU_COUNT(&cpus);

	n = n > 1 ? n - 1 : 1;
	return n < THREADS_MAX ? n : THREADS_MAX;
}

struct parallel *parallel_start(size_t n, parallel_work *work, void *ctx)
{
	struct parallel *p = xcalloc(1, sizeof(*p));
	size_t want = n > FEW ? thread_count() : 0;

	p->n = n;
	p->work = work;
	p->ctx = ctx;
	pthread_mutex_init(&p->lock, NULL);
	while (p->nthreads < want &&
	       pthread_create(&p->thread[p->nthreads], NULL, do_items, p) == 0)
		p->nthreads++;
	return p;
}

int parallel_join(struct parallel *p, struct fault *f)
{
	size_t i;
	int r = 0;

	do_items(p);
	for (i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
	if (p->failed)
		r = fault(f, -p->fault.code, "%s", p->fault.text);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return r;
}
