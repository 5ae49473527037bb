/* SPDX-License-Identifier: MIT */
/*
 * guard.c - what a dump changes in the tasks' sockets is undone even when this worker is killed.
 *
 * The guard is a clone with CLONE_FILES: it keeps the descriptors open when we die, waits for that,
 * walks the list in shared memory and exits. It has a session of its own and no signal but SIGKILL
 * reaches it, so what is aimed at a process group passes it by. The coordinator's death it learns
 * by a herald, before the tasks run on: it kills us and undoes what would hurt them first.
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
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/net/net.h"

/* More than there can be descriptors. Pages of the list exist when they are used. */
#define MAX_ACTIONS (1 << 20)

struct action {
	guard_undo *undo;		/* NULL: dropped. Written last, release */
	uint64_t arg;
	int fd;
	bool dead;		/* to be done when the tasks are dead, else when they live */
	bool hot;			/* the change lasts at this moment */
};

/* Shared with the guard. */
struct guard_list {
	struct gate_herald worker;	/* of this worker's main thread */
	uint32_t n;
	int root;		/* pidfd of a task that is to be killed, plus 1; 0: none is */
	struct action action[MAX_ACTIONS];
};

struct guard {
	struct guard_list *list;
	pid_t pid;
	int pidfd;			/* of this worker */
	const struct gate_herald *herald;	/* of the coordinator; NULL: we live without */
};

static void run_hot(struct guard_list *list)
{
	uint32_t i = __atomic_load_n(&list->n, __ATOMIC_ACQUIRE);

	while (i-- > 0) {
		const struct action *a = &list->action[i];
		guard_undo *undo = __atomic_load_n(&a->undo, __ATOMIC_ACQUIRE);

		if (undo && __atomic_load_n(&a->hot, __ATOMIC_ACQUIRE))
			undo(a->fd, a->arg);
	}
}

static void run_all(struct guard_list *list, bool dead)
{
	uint32_t i = __atomic_load_n(&list->n, __ATOMIC_ACQUIRE);

	while (i-- > 0) {
		const struct action *a = &list->action[i];
		guard_undo *undo = __atomic_load_n(&a->undo, __ATOMIC_ACQUIRE);

		if (undo && a->dead == dead)
			undo(a->fd, a->arg);
	}
}

/* A task that has been killed may take long to end; only of one that has can memory be reaped. */
static bool are_dead(const struct guard_list *list)
{
	struct pollfd p = { .fd = __atomic_load_n(&list->root, __ATOMIC_ACQUIRE) - 1,
			    .events = POLLIN };

	return p.fd >= 0 && (poll(&p, 1, 0) == 1 || syscall(SYS_process_mrelease, p.fd, 0) == 0 ||
			     (errno != EINVAL && errno != ENOSYS));
}

/* The life of the guard. It is a copy of one thread of several: nothing but system calls. */
static _Noreturn void keep_guard(const struct guard *g)
{
	const struct gate_herald *heralds[] = { &g->list->worker, g->herald };
	struct pollfd end = { .fd = g->pidfd, .events = POLLIN };

	setsid();
	while (!gate_heralds_await(heralds, g->herald ? 2 : 1))
		;
	/* One of us alone may not go on. A call that is under way may still make a change. */
	syscall(SYS_pidfd_send_signal, g->pidfd, SIGKILL, NULL, 0);
	do
		run_hot(g->list);
	while (poll(&end, 1, 0) == 0);
	run_all(g->list, are_dead(g->list));
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

static void end(struct guard *g)
{
	gate_herald_end(&g->list->worker);
	auto_close(&g->pidfd);
	munmap(g->list, sizeof(*g->list));
	free(g);
}

static struct guard *start(const struct gate_herald *coordinator, struct fault *f)
{
	struct guard *g = xcalloc(1, sizeof(*g));

	g->list = mmap(NULL, sizeof(*g->list), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (g->list == MAP_FAILED)
		die("no memory for a list");
	g->herald = coordinator;
	gate_herald(&g->list->worker, false);
	g->pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	if (g->pidfd < 0)
		fault(f, errno, "open a pidfd of this worker");
	else if (start_process(g, f) == 0)
		return g;
	end(g);
	return NULL;
}

int guard_begin(struct net *net, struct fault *f)
{
	if (!net->guard)
		net->guard = start(net->herald, f);
	return net->guard ? 0 : -1;
}

static int add(struct net *net, struct action what, struct fault *f)
{
	struct guard_list *list;
	struct action *a;

	if (guard_begin(net, f) < 0)
		return -1;
	list = net->guard->list;
	if (list->n == MAX_ACTIONS)
		return fault(f, -ENOSPC, "more than %d changes of sockets to guard", MAX_ACTIONS);
	a = &list->action[list->n];
	a->fd = what.fd;
	a->arg = what.arg;
	a->dead = what.dead;
	a->hot = false;
	__atomic_store_n(&a->undo, what.undo, __ATOMIC_RELEASE);
	__atomic_store_n(&list->n, list->n + 1, __ATOMIC_RELEASE);
	return (int)list->n - 1;
}

int guard_add(struct net *net, int fd, guard_undo *undo, uint64_t arg, struct fault *f)
{
	return add(net, (struct action){ .undo = undo, .arg = arg, .fd = fd }, f);
}

int guard_add_dead(struct net *net, int fd, guard_undo *act, uint64_t arg, struct fault *f)
{
	return add(net, (struct action){ .undo = act, .arg = arg, .fd = fd, .dead = true }, f) < 0 ?
		       -1 : 0;
}

void guard_hot(struct net *net, int action, bool hot)
{
	__atomic_store_n(&net->guard->list->action[action].hot, hot, __ATOMIC_RELEASE);
}

int guard_doom(struct net *net, pid_t pid, struct fault *f)
{
	int root;

	if (!net->guard)
		return 0;
	root = syscall(SYS_pidfd_open, pid, 0);
	if (root < 0)
		return fault(f, errno, "open task %d", pid);
	__atomic_store_n(&net->guard->list->root, root + 1, __ATOMIC_RELEASE);
	return 0;
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
		run_all(g->list, false);
	kill(g->pid, SIGKILL);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (g->list->root)
		close(g->list->root - 1);
	end(g);
	net->guard = NULL;
}
