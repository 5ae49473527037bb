/* SPDX-License-Identifier: MIT */
/*
 * tasks.c - restore: the tasks and the gates into them.
 *
 * Rights:   ptrace access to the tasks (pidfd_getfd).
 * Holds:    the gates, from Gates to the end.
 */
#include "workers/net/tasks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/net/kind.h"

#define SETFL_BITS (O_APPEND | O_ASYNC | O_NONBLOCK | O_DIRECT | O_NOATIME)

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

static struct task *find(struct net *net, pid_t pid)
{
	const struct task key = { .pid = pid };
	struct tasks *s = net->tasks;

	return s && s->n ? bsearch(&key, s->task, s->n, sizeof(key), by_pid) : NULL;
}

void tasks_learn(struct net *net, const NetPrepare *req)
{
	struct tasks *s = net->tasks = xcalloc(1, sizeof(*s));
	size_t i;

	s->gate_memory = -1;
	s->task = xcalloc(req->n_task, sizeof(*s->task));
	for (i = 0; i < req->n_task; i++)
		if (!req->task[i]->dead)
			s->task[s->n++] = (struct task){ .pid = req->task[i]->pid, .spare = -1 };
	qsort(s->task, s->n, sizeof(*s->task), by_pid);
}

int tasks_gates(struct net *net, const Gates *req, int fd, struct fault *f)
{
	struct tasks *s = net->tasks;
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
		struct task *t = find(net, p->pid);

		if (!t || t->gate)
			return fault(f, -EPROTO, "unexpected gate of task %u", p->pid);
		t->gate = gate_open(s->gate_memory, &place, false, GATE_MODE_RESTORE, f);
		if (!t->gate)
			return -1;
	}
	return 0;
}

int tasks_spare(struct net *net, const NetCreate *req, struct fault *f)
{
	size_t i;

	for (i = 0; i < req->n_spare; i++) {
		struct task *t = find(net, req->spare[i]->pid);

		if (!t)
			return fault(f, -EPROTO, "task %u is not in the tree", req->spare[i]->pid);
		t->spare = req->spare[i]->fd;
	}
	return 0;
}

struct gate *net_gate(struct net *net, pid_t pid)
{
	struct task *t = find(net, pid);

	return t && t->spare >= 0 ? t->gate : NULL;
}

int net_spare_fd(struct net *net, pid_t pid)
{
	struct task *t = find(net, pid);

	if (!t || t->spare < 0)
		die("no task %d", pid);
	return t->spare;
}

int net_fetch(pid_t pid, int fd, struct fault *f)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, pid, 0);
	int own = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return own < 0 ? fault(f, errno, "fetch descriptor %d of task %d", fd, pid) : own;
}

int net_set_flags(int fd, uint32_t flags, struct fault *f)
{
	int now = fcntl(fd, F_GETFL);
	int want = (now & ~SETFL_BITS) | ((int)flags & SETFL_BITS);

	if (now < 0 || (now != want && fcntl(fd, F_SETFL, want) < 0))
		return fault(f, errno, "set flags %#x of a socket", flags);
	return 0;
}

void tasks_end(struct net *net)
{
	struct tasks *s = net->tasks;
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		if (s->task[i].gate)
			gate_close(s->task[i].gate);
	auto_close(&s->gate_memory);
	free(s->task);
	free(s);
	net->tasks = NULL;
}
