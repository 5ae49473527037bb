/* SPDX-License-Identifier: MIT */
/*
 * guard.c - what a dump changes in the tasks' sockets is undone even when this worker is killed.
 *
 * The guard is a clone with CLONE_FILES: it keeps the descriptors open when we die, waits for that
 * on our pidfd, walks the list in shared memory and exits. It has a session of its own and no signal
 * but SIGKILL reaches it, so what is aimed at a process group passes it by.
 *
 * Rights:   those of the worker.
 * Holds:    the process and the list, from the first action to the end.
 */
#include "workers/net/guard.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/control/util.h"
#include "workers/net/net.h"

/* More than there can be descriptors. Pages of the list exist when they are used. */
#define MAX_ACTIONS (1 << 20)

struct action {
	guard_undo *undo;		/* NULL: dropped. Written last, release */
	uint64_t arg;
	int fd;
};

/* Shared with the guard. */
struct guard_list {
	uint32_t n;
	struct action action[MAX_ACTIONS];
};

struct guard {
	struct guard_list *list;
	pid_t pid;
	int pidfd;			/* of this worker; the guard polls it */
	int parent;			/* of the coordinator, whose death is ours; -1: we live without */
};

static void undo_all(struct guard_list *list)
{
	uint32_t i = __atomic_load_n(&list->n, __ATOMIC_ACQUIRE);

	while (i-- > 0) {
		const struct action *a = &list->action[i];
		guard_undo *undo = __atomic_load_n(&a->undo, __ATOMIC_ACQUIRE);

		if (undo)
			undo(a->fd, a->arg);
	}
}

/* The life of the guard. It is a copy of one thread of several: nothing but system calls. */
static _Noreturn void keep_guard(const struct guard *g)
{
	struct pollfd death[] = {
		{ .fd = g->pidfd, .events = POLLIN }, { .fd = g->parent, .events = POLLIN },
	};

	setsid();
	/* The tasks run when the coordinator dies, so do not wait until that has killed us too. */
	while (poll(death, 2, -1) < 0 && errno == EINTR)
		;
	undo_all(g->list);
	while (poll(death, 1, -1) < 0 && errno == EINTR)
		;
	undo_all(g->list);
	_exit(0);
}

static int start_process(struct guard *g, struct fault *f)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	g->pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	err = errno;
	if (g->pid == 0)
		keep_guard(g);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return g->pid < 0 ? fault(f, err, "start the process that guards the tasks' sockets") : 0;
}

static struct guard *start(struct fault *f)
{
	struct guard *g = xcalloc(1, sizeof(*g));
	int signal = 0;

	g->list = mmap(NULL, sizeof(*g->list), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (g->list == MAP_FAILED)
		die("no memory for a list");
	prctl(PR_GET_PDEATHSIG, &signal);
	g->parent = signal ? (int)syscall(SYS_pidfd_open, getppid(), 0) : -1;
	g->pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	if (g->pidfd < 0)
		fault(f, errno, "open a pidfd of this worker");
	else if (start_process(g, f) == 0)
		return g;
	auto_close(&g->pidfd);
	auto_close(&g->parent);
	munmap(g->list, sizeof(*g->list));
	free(g);
	return NULL;
}

int guard_add(struct net *net, int fd, guard_undo *undo, uint64_t arg, struct fault *f)
{
	struct guard_list *list;
	struct action *a;

	if (!net->guard)
		net->guard = start(f);
	if (!net->guard)
		return -1;
	list = net->guard->list;
	if (list->n == MAX_ACTIONS)
		return fault(f, -ENOSPC, "more than %d changes of sockets to guard", MAX_ACTIONS);
	a = &list->action[list->n];
	a->fd = fd;
	a->arg = arg;
	__atomic_store_n(&a->undo, undo, __ATOMIC_RELEASE);
	__atomic_store_n(&list->n, list->n + 1, __ATOMIC_RELEASE);
	return (int)list->n - 1;
}

void guard_drop(struct net *net, int action)
{
	struct guard_list *list = net->guard->list;

	__atomic_store_n(&list->action[action].undo, NULL, __ATOMIC_RELEASE);
	while (list->n && !list->action[list->n - 1].undo)
		__atomic_store_n(&list->n, list->n - 1, __ATOMIC_RELEASE);
}

void guard_end(struct net *net, bool undo)
{
	struct guard *g = net->guard;

	if (!g)
		return;
	if (undo)
		undo_all(g->list);
	kill(g->pid, SIGKILL);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	auto_close(&g->pidfd);
	auto_close(&g->parent);
	munmap(g->list, sizeof(*g->list));
	free(g);
	net->guard = NULL;
}
