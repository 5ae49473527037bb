/* SPDX-License-Identifier: MIT */
/*
 * plan.c - restore: a sequence of system calls for one task.
 *
 * Rights:   the task's gate.
 * Holds:    the plan; the gate's lock only inside plan_run.
 */
#include "workers/mem/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/control/util.h"

#define BATCH_MS 30000			/* the longest a batch may take: mlock reads files */

struct payload {
	char *data;
	size_t size;
	size_t pointer_at;		/* the word in the call's own payload that points here */
};

struct call_plan {
	enum plan_want want;
	const char *what;
	uint64_t where;
	uint32_t nr;
	uint64_t arg[6];
	unsigned data_arg;
	struct payload data, second;
	int64_t ret;
};

struct plan {
	struct call_plan *call;
	size_t n, cap;
	size_t done;
};

struct plan *plan_new(void)
{
	return xcalloc(1, sizeof(struct plan));
}

void plan_free(struct plan *p)
{
	size_t i;

	if (!p)
		return;
	for (i = 0; i < p->n; i++) {
		free(p->call[i].data.data);
		free(p->call[i].second.data);
	}
	free(p->call);
	free(p);
}

size_t plan_add(struct plan *p, enum plan_want want, const char *what, uint64_t where, uint32_t nr,
		const uint64_t arg[6])
{
	struct call_plan *c = grow(&p->call, p->n, &p->cap, sizeof(*c));

	c->want = want;
	c->what = what;
	c->where = where;
	c->nr = nr;
	memcpy(c->arg, arg, sizeof(c->arg));
	return p->n++;
}

static void set_payload(struct payload *to, const void *data, size_t size)
{
	to->data = memcpy(xcalloc(1, size), data, size);
	to->size = size;
}

void plan_data(struct plan *p, unsigned arg, const void *data, size_t size)
{
	struct call_plan *c = &p->call[p->n - 1];

	c->data_arg = arg;
	set_payload(&c->data, data, size);
}

void plan_data_pointer(struct plan *p, size_t at, const void *data, size_t size)
{
	struct call_plan *c = &p->call[p->n - 1];

	c->second.pointer_at = at;
	set_payload(&c->second, data, size);
}

int64_t plan_result(const struct plan *p, size_t number)
{
	return p->call[number].ret;
}

/* Copy the payloads to the arena; the call's argument becomes their address. False: no room. */
static bool put_payload(struct batch *b, struct gate *g, const struct call_plan *c,
			struct gate_arg *arg)
{
	uint64_t at, word;

	if (!c->data.size)
		return true;
	if (batch_room(b) < c->data.size + c->second.size + 512)
		return false;
	at = batch_put(b, c->data.data, c->data.size);
	if (c->second.size) {
		word = gate_arena_address(g) + batch_put(b, c->second.data, c->second.size);
		memcpy((char *)batch_local(b, at) + c->second.pointer_at, &word, sizeof(word));
	}
	*arg = ga(at);
	return true;
}

static bool put_call(struct batch *b, struct gate *g, const struct call_plan *c)
{
	uint32_t flags = c->want == WANT_ANYTHING ? 0 : GATE_STOP_ON_ERROR;
	struct gate_arg a[6];
	unsigned i;

	for (i = 0; i < ARRAY_LEN(a); i++)
		a[i] = gc(c->arg[i]);
	if (!put_payload(b, g, c, &a[c->data_arg]))
		return false;
	return batch_op(b, 0, flags, c->nr, 6, a[0], a[1], a[2], a[3], a[4], a[5]) >= 0;
}

/* What was expected is part of the sentence: a kernel that places things elsewhere is no errno. */
static int check_result(const struct call_plan *c, struct gate *g, struct fault *f)
{
	uint64_t expected = c->nr == SYS_mremap ? c->arg[4] : c->arg[0];
	pid_t pid = gate_place(g)->pid;

	if (c->want == WANT_ANYTHING)
		return 0;
	if (c->ret < 0 && c->ret >= -4095)
		return fault(f, -c->ret, "task %d: %s at %" PRIx64, pid, c->what, c->where);
	if (c->want == WANT_ADDRESS && (uint64_t)c->ret != expected)
		return fault(f, -EEXIST,
			     "task %d: %s at %" PRIx64 ": the kernel chose %" PRIx64 " instead",
			     pid, c->what, c->where, (uint64_t)c->ret);
	return 0;
}

/* One batch: as many calls as fit. */
static int run_some(struct plan *p, struct gate *g, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	size_t first = p->done, end = first, i;
	size_t executed;

	while (end < p->n && put_call(b, g, &p->call[end]))
		end++;
	if (end == first)
		return fault(f, -ENOSPC, "task %d: the gate's arena is too small for one call",
			     gate_place(g)->pid);
	if (batch_run(b, BATCH_MS, f) < 0)
		return -1;
	executed = batch_executed(b, 0);
	for (i = first; i < end && i - first < executed; i++) {
		p->call[i].ret = batch_result(b, 0, i - first);
		if (check_result(&p->call[i], g, f) < 0)
			return -1;
		p->done = i + 1;
	}
	if (p->done < end)
		return fault(f, -EPROTO, "task %d: the agent stopped after %zu of %zu calls",
			     gate_place(g)->pid, executed, end - first);
	return 0;
}

int plan_run(struct plan *p, struct gate *g, struct fault *f)
{
	while (p->done < p->n)
		if (run_some(p, g, f) < 0)
			return -1;
	return 0;
}
