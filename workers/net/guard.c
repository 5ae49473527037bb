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
	bool dead;			/* to be done when the tasks are dead, else when they live */
};

/* Shared with the guard. */
struct guard_list {
	uint32_t n;
	int root;			/* pidfd of a task that is to be killed, plus 1; 0: none is */
	struct action action[MAX_ACTIONS];
};

struct guard {
	struct guard_list *list;
	pid_t pid;
	int pidfd;			/* of this worker; the guard polls it */
	int parent;			/* of the coordinator, whose death is ours; -1: we live without */
};

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
	struct pollfd p = { .fd = __atomic_load_n(&list->root, __ATOMIC_ACQUIRE) - 1, .events = POLLIN };

	return p.fd >= 0 && (poll(&p, 1, 0) == 1 || syscall(SYS_process_mrelease, p.fd, 0) == 0 ||
			     (errno != EINVAL && errno != ENOSYS));
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
	run_all(g->list, are_dead(g->list));
	while (poll(death, 1, -1) < 0 && errno == EINTR)
		;
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

static int add(struct net *net, struct action what, struct fault *f)
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
	a->fd = what.fd;
	a->arg = what.arg;
	a->dead = what.dead;
	__atomic_store_n(&a->undo, what.undo, __ATOMIC_RELEASE);
	__atomic_store_n(&list->n, list->n + 1, __ATOMIC_RELEASE);
	return (int)list->n - 1;
}

int guard_add(struct net *net, int fd, guard_undo *undo, uint64_t arg, struct fault *f)
{
	return add(net, (struct action){ undo, arg, fd, false }, f);
}

int guard_add_dead(struct net *net, int fd, guard_undo *act, uint64_t arg, struct fault *f)
{
	return add(net, (struct action){ act, arg, fd, true }, f) < 0 ? -1 : 0;
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
	auto_close(&g->pidfd);
	auto_close(&g->parent);
	munmap(g->list, sizeof(*g->list));
	free(g);
	net->guard = NULL;
}
