/* SPDX-License-Identifier: MIT */
/*
 * ops.c - lists of system calls for tasks being restored, with every result checked.
 *
 * Rights:   none; the calls are the task's own.
 * Holds:    the gate of each task that has a list.
 */
#include "coordinator/ops.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "proto/control/util.h"

#define TIMEOUT_MS 60000	/* waiting for zombies and many threads included */

struct note {
	const char *what;	/* NULL: the result does not matter */
	uint32_t thread;
	int index;
	bool exact;
	int64_t want;
};

struct ops {
	struct task *task;
	struct batch *batch;
	struct note *notes;
	size_t n, cap;
};

struct ops *ops_begin(struct task *t)
{
	struct ops *o = xcalloc(1, sizeof(*o));

	o->task = t;
	o->batch = batch_begin(t->gate);
	return o;
}

void ops_end(struct ops *o)
{
	batch_end(o->batch);
	free(o->notes);
	free(o);
}

struct gate_arg ops_last(const struct ops *o)
{
	return gr(o->notes[o->n - 1].index);
}

int ops_reserve(struct ops *o, size_t n, size_t bytes, struct fault *f)
{
	size_t need = n * (sizeof(struct gate_op) + 16) + bytes + 16;

	if (batch_room(o->batch) >= need)
		return 0;
	if (ops_run(o, f) < 0)
		return -1;
	if (batch_room(o->batch) < need)
		return fault(f, -E2BIG, "task %d: %zu bytes of state do not fit into its arena",
			     o->task->pid, bytes);
	return 0;
}

struct gate_arg ops_put(struct ops *o, const void *data, size_t size)
{
	uint64_t at = batch_put(o->batch, data, size);

	if (at == UINT64_MAX)
		die("task %d: arguments were not reserved", o->task->pid);
	return ga(at);
}

struct gate_arg ops_put_str(struct ops *o, const char *s)
{
	return ops_put(o, s, strlen(s) + 1);
}

static void add(struct ops *o, uint32_t thread, const char *what, uint32_t nr, unsigned nargs,
		va_list ap)
{
	struct gate_arg a[6] = { { GATE_CONST, 0 } };
	struct note *note;
	unsigned i;

	for (i = 0; i < nargs && i < ARRAY_LEN(a); i++)
		a[i] = va_arg(ap, struct gate_arg);
	note = grow(&o->notes, o->n++, &o->cap, sizeof(*o->notes));
	note->what = what;
	note->thread = thread;
	note->index = batch_op(o->batch, thread, 0, nr, 6, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (note->index < 0)
		die("task %d: operations were not reserved", o->task->pid);
}

void ops_add(struct ops *o, uint32_t thread, const char *what, uint32_t nr, unsigned nargs, ...)
{
	va_list ap;

	va_start(ap, nargs);
	add(o, thread, what, nr, nargs, ap);
	va_end(ap);
}

void ops_try(struct ops *o, uint32_t thread, uint32_t nr, unsigned nargs, ...)
{
	va_list ap;

	va_start(ap, nargs);
	add(o, thread, NULL, nr, nargs, ap);
	va_end(ap);
}

void ops_expect(struct ops *o, int64_t result)
{
	o->notes[o->n - 1].exact = true;
	o->notes[o->n - 1].want = result;
}

static int check(const struct ops *o, const struct note *note, struct fault *f)
{
	int64_t r = batch_result(o->batch, note->thread, note->index);
	pid_t tid = o->task->threads[note->thread].tid;

	if (!note->what)
		return 0;
	if (r < 0 && r >= -4095)
		return tid == o->task->pid ?
			fault(f, -r, "task %d cannot %s", tid, note->what) :
			fault(f, -r, "thread %d of task %d cannot %s", tid, o->task->pid,
			      note->what);
	if (note->exact && r != note->want)
		return fault(f, -EPROTO, "task %d cannot %s: the kernel returned %lld, not %lld",
			     tid, note->what, (long long)r, (long long)note->want);
	return 0;
}

static void start(struct ops *o)
{
	if (o->n)
		batch_start(o->batch);
}

static int wait_and_check(struct ops *o, struct fault *f)
{
	size_t i;

	if (o->n && batch_wait(o->batch, TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < o->n; i++)
		if (check(o, &o->notes[i], f) < 0)
			return -1;
	o->n = 0;
	batch_reset(o->batch);
	return 0;
}

int ops_run(struct ops *o, struct fault *f)
{
	start(o);
	return wait_and_check(o, f);
}

int ops_all(struct job *job, struct task **tasks, size_t n, add_fn *fill, struct fault *f)
{
	AUTO_FREE struct ops **lists = xcalloc(n + 1, sizeof(*lists));
	size_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		if (!tasks[i]->gate)
			continue;
		lists[i] = ops_begin(tasks[i]);
		r = fill(job, lists[i], tasks[i], f);
		if (!r)
			start(lists[i]);
	}
	for (i = 0; i < n; i++) {
		if (lists[i] && !r)
			r = wait_and_check(lists[i], f);
		if (lists[i])
			ops_end(lists[i]);
	}
	return r;
}
