/* SPDX-License-Identifier: MIT */
/*
 * tasks.c - restore: the tasks and the gates into them.
 *
 * Rights:   none.
 * Holds:    the gates and the descriptor of their memory, until tasks_free.
 */
#include "workers/common/tasks.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"

struct task {
	pid_t pid;
	struct gate *gate;
	int spare;
};

struct tasks {
	struct task *task;		/* by pid */
	size_t n;
	int gate_memory;
};

static int by_pid(const void *a, const void *b)
{
	const struct task *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static struct task *find(struct tasks *s, pid_t pid)
{
	const struct task key = { .pid = pid };

	return s && s->n ? bsearch(&key, s->task, s->n, sizeof(key), by_pid) : NULL;
}

struct tasks *tasks_new(RestoreTask *const *list, size_t n)
{
	struct tasks *s = xcalloc(1, sizeof(*s));
	size_t i;

	s->gate_memory = -1;
	s->task = xcalloc(n, sizeof(*s->task));
	for (i = 0; i < n; i++)
		if (!list[i]->dead)
			s->task[s->n++] = (struct task){ .pid = list[i]->pid, .spare = -1 };
	qsort(s->task, s->n, sizeof(*s->task), by_pid);
	return s;
}

int tasks_gates(struct tasks *s, const Gates *req, int fd, struct fault *f)
{
	size_t i;

	if (!s || (fd >= 0) == (s->gate_memory >= 0))
		return fault(f, -EPROTO, "untimely gates");
	if (fd >= 0)
		s->gate_memory = fd;
	for (i = 0; i < req->n_place; i++) {
		const GatePlace *p = req->place[i];
		const struct gate_place place = {
			.pid = p->pid, .file_offset = p->file_offset, .base = p->address,
			.size = p->size, .nmailboxes = p->nmailboxes,
		};
		struct task *t = find(s, p->pid);

		if (!t || t->gate)
			return fault(f, -EPROTO, "unexpected gate of task %u", p->pid);
		t->gate = gate_open(s->gate_memory, &place, false, GATE_MODE_RESTORE, f);
		if (!t->gate)
			return -1;
	}
	return 0;
}

int tasks_set_spare(struct tasks *s, SpareFd *const *list, size_t n, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct task *t = find(s, list[i]->pid);

		if (!t)
			return fault(f, -EPROTO, "task %u is not in the tree", list[i]->pid);
		t->spare = list[i]->fd;
	}
	return 0;
}

struct gate *tasks_gate(struct tasks *s, pid_t pid)
{
	struct task *t = find(s, pid);

	return t && t->spare >= 0 ? t->gate : NULL;
}

int tasks_spare(struct tasks *s, pid_t pid)
{
	struct task *t = find(s, pid);

	return t ? t->spare : -1;
}

void tasks_free(struct tasks *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		if (s->task[i].gate)
			gate_close(s->task[i].gate);
	auto_close(&s->gate_memory);
	free(s->task);
	free(s);
}
