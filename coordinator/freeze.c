/* SPDX-License-Identifier: MIT */
/*
 * freeze.c - find a process tree and stop every thread of it.
 *
 * Dump:     FREEZE: seize and interrupt whatever is found below the root until a whole round
 *           finds nothing new.
 * Rights:   CAP_SYS_PTRACE over the tasks; CAP_SYS_ADMIN to suspend seccomp filters.
 * Holds:    the ptrace attachment of every thread with `seized` set. Our death ends
 *           them all, and the kernel lets each thread run on.
 * Relies on being called by one thread: ptrace belongs to threads, not to processes.
 */
#include "coordinator/freeze.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "coordinator/stops.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

#define ROUNDS_MAX 200		/* of looking for new tasks */
#define TRIES_MAX 5		/* when the tree changes under us */

/* One freeze on its way. */
struct freezer {
	struct job *job;
	unsigned long options;		/* of PTRACE_SEIZE */
	int64_t end_ms;			/* the deadline */
	bool again;			/* something new was found: look once more */
};

static bool is_gone(const struct fault *f)
{
	return f->code == ESRCH || f->code == ENOENT;
}

/* ---- tasks and threads found ---- */

static int by_pid(const void *a, const void *b)
{
	return *(const pid_t *)a - *(const pid_t *)b;
}

/* The ids in found[n] that have[m] lacks are moved to its front; returns how many. */
static size_t keep_new(pid_t *found, size_t n, pid_t *have, size_t m)
{
	size_t i, k = 0;

	qsort(have, m, sizeof(*have), by_pid);
	for (i = 0; i < n; i++)
		if (!bsearch(&found[i], have, m, sizeof(*have), by_pid))
			found[k++] = found[i];
	return k;
}

static void free_task(struct task *t)
{
	size_t i;

	for (i = 0; i < t->nthreads; i++)
		free(t->threads[i].regs);
	free(t->threads);
	free(t->children);
	auto_close(&t->pidfd);
	free(t);
}

/* Only the first guess is forgotten like this: nothing refers to its tasks yet. */
static void forget_tasks(struct job *job)
{
	while (job->ntasks)
		free_task(job->tasks[--job->ntasks]);
}

static int read_task(struct task *t, struct proc_stat *st, struct fault *f)
{
	if (procfs_stat(t->pid, 0, st, f) < 0)
		return -1;
	t->ppid = st->ppid;
	t->pgid = st->pgid;
	t->sid = st->sid;
	return 0;
}

/*
 * Why PTRACE_SEIZE said no. 0: the thread is dying and needs no stop, -1 with f set: refused.
 */
static int seize_refused(struct task *t, pid_t tid, int code, struct fault *f)
{
	struct proc_status st = { 0 };
	struct proc_stat stat, tracer;
	struct fault ignored = { 0 };

	if (code == ESRCH || procfs_stat(t->pid, tid, &stat, &ignored) < 0 || stat.state == 'Z' ||
	    stat.state == 'X')
		return 0;
	if (procfs_status(t->pid, tid, &st, &ignored) == 0) {
		pid_t by = st.tracer;

		proc_status_free(&st);
		if (by && procfs_stat(by, 0, &tracer, &ignored) == 0)
			return fault(f, -EBUSY, "task %d (%s) is being traced by %d (%s): detach "
				     "that tracer first", t->pid, stat.comm, by, tracer.comm);
	}
	return fault(f, code, "cannot stop task %d (%s), thread %d: ptrace is refused; run as root "
		     "or with CAP_SYS_PTRACE", t->pid, stat.comm, tid);
}

static int seize_thread(struct freezer *z, struct task *t, struct thread *th, struct fault *f)
{
	int r = ptrace(PTRACE_SEIZE, th->tid, NULL, z->options);

	if (r < 0 && (z->options & PTRACE_O_SUSPEND_SECCOMP) &&
	    (errno == EPERM || errno == EINVAL)) {
		/* Maybe only the option is refused: it needs CAP_SYS_ADMIN. */
		r = ptrace(PTRACE_SEIZE, th->tid, NULL, PTRACE_O_TRACESYSGOOD);
		if (r == 0)
			z->options = PTRACE_O_TRACESYSGOOD;
	}
	if (r < 0)
		return seize_refused(t, th->tid, errno, f);
	th->seized = true;
	z->again = true;
	step(z->job, "seize");
	ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL);
	step(z->job, "interrupt");
	return 0;
}

/* Seize the threads of t that are not known yet. */
static int scan_threads(struct freezer *z, struct task *t, struct fault *f)
{
	AUTO_FREE pid_t *ids = NULL, *have = NULL;
	struct fault why = { 0 };
	size_t i, n, m = t->nthreads;

	if (procfs_threads(t->pid, &ids, &n, &why) < 0) {
		if (is_gone(&why))
			return 0;
		*f = why;
		return -1;
	}
	have = xcalloc(m + 1, sizeof(*have));
	for (i = 0; i < m; i++)
		have[i] = t->threads[i].tid;
	n = keep_new(ids, n, have, m);
	for (i = 0; i < n; i++) {
		task_add_thread(t, ids[i], ids[i]);
		if (seize_thread(z, t, &t->threads[t->nthreads - 1], f) < 0)
			return -1;
		if (!t->threads[t->nthreads - 1].seized)	/* dead */
			t->nthreads--;
	}
	return 0;
}

static int add_child(struct freezer *z, struct task *parent, pid_t pid, struct fault *f)
{
	struct fault why = { 0 };
	struct proc_stat st;
	struct task *t;

	if (pid == getpid())
		return fault(f, -EDEADLK, "task %d is this stasis process itself, a descendant of "
			     "the tree to be dumped: start stasis from outside the tree", pid);
	if (procfs_stat(pid, 0, &st, &why) < 0 || st.ppid != parent->tgid)
		return 0;
	t = job_add_task(z->job, parent);
	t->pid = t->tgid = t->vpid = pid;
	z->again = true;
	return 0;
}

static int scan_children(struct freezer *z, struct task *t, struct fault *f)
{
	AUTO_FREE pid_t *ids = NULL, *have = NULL;
	struct fault why = { 0 };
	size_t i, n;

	if (procfs_children(t->pid, &ids, &n, &why) < 0) {
		if (is_gone(&why))
			return 0;
		*f = why;
		return -1;
	}
	have = xcalloc(t->nchildren + 1, sizeof(*have));
	for (i = 0; i < t->nchildren; i++)
		have[i] = t->children[i]->tgid;
	n = keep_new(ids, n, have, t->nchildren);
	for (i = 0; i < n; i++)
		if (add_child(z, t, ids[i], f) < 0)
			return -1;
	return 0;
}

/* ---- waiting for the stops ---- */

/* Wait for one thread. 1: stopped and noted, 0: not yet, -1: f set. A dead one is dropped. */
static int collect_thread(struct freezer *z, struct task *t, struct thread *th, int timeout_ms,
			  struct fault *f)
{
	int status, r = stop_wait_event(th->tid, timeout_ms, &status);

	if (r < 0) {
		th->seized = false;
		th->tid = 0;
		z->again = true;
		return 1;
	}
	if (r == 0)
		return 0;
	step(z->job, "stopped");
	return freeze_take(t, th, status, f) < 0 ? -1 : 1;
}

static bool same_memory(pid_t a, pid_t b)
{
	return syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0;
}

/*
 * A vfork parent cannot be stopped before its child execs or exits, and we have stopped that
 * child: let such children of t run a little. Returns one of them, NULL when there is none.
 */
static struct task *let_vfork_children_run(struct freezer *z, struct task *t)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	struct task *found = NULL, *c;
	size_t i;

	for (i = 0; i < t->nchildren; i++) {
		c = t->children[i];
		if (!c->nthreads || !c->threads[0].regs || !same_memory(t->pid, c->pid))
			continue;
		found = c;
		free(take_ptr(&c->threads[0].regs));
		ptrace(PTRACE_CONT, c->pid, NULL, 0);
		nanosleep(&nap, NULL);
		ptrace(PTRACE_INTERRUPT, c->pid, NULL, NULL);
		z->again = true;
	}
	return found;
}

static int cannot_stop(struct freezer *z, struct task *t, pid_t tid, struct fault *f)
{
	AUTO_FREE char *where = NULL;
	struct fault ignored = { 0 };
	struct proc_stat st = { .state = '?' };
	struct task *child = let_vfork_children_run(z, t);

	if (child)
		return fault(f, -ETIMEDOUT, "task %d cannot be stopped: it waits for its vfork "
			     "child %d to exec or exit; dump it later", t->pid, child->pid);
	procfs_stat(t->pid, tid, &st, &ignored);
	where = procfs_read(t->pid, tid, "wchan", NULL, &ignored);
	if (st.state == 'R')
		return fault(f, -ETIMEDOUT, "task %d (%s), thread %d cannot be stopped within %u "
			     "s: it is in one long system call (a fork, mmap or munmap of much "
			     "memory?); try later or raise --timeout", t->pid, st.comm, tid,
			     z->job->opts->timeout_s);
	return fault(f, -ETIMEDOUT, "task %d (%s), thread %d cannot be stopped within %u s: state "
		     "%c in kernel function %s; try later or raise --timeout", t->pid, st.comm, tid,
		     z->job->opts->timeout_s, st.state, where && *where ? where : "unknown");
}

/* One pass over the threads not stopped yet. Returns how many are left, -1 with f set. */
static int collect_pass(struct freezer *z, int slice_ms, struct fault *f)
{
	struct job *job = z->job;
	struct thread *th;
	struct task *t;
	size_t i, k;
	int left = 0, r;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		for (k = 0; k < t->nthreads; k++) {
			th = &t->threads[k];
			if (!th->seized || th->regs)
				continue;
			r = collect_thread(z, t, th, slice_ms, f);
			if (r < 0)
				return -1;
			if (r == 0)
				left++;
		}
	}
	return left;
}

/* Deadline over, or children of a vfork to be let go? For the first thread not stopped. */
static int look_at_stuck(struct freezer *z, struct fault *f)
{
	struct job *job = z->job;
	size_t i, k;

	for (i = 0; i < job->ntasks; i++)
		for (k = 0; k < job->tasks[i]->nthreads; k++) {
			struct thread *th = &job->tasks[i]->threads[k];

			if (!th->seized || th->regs)
				continue;
			if (monotonic_ms() >= z->end_ms)
				return cannot_stop(z, job->tasks[i], th->tid, f);
			let_vfork_children_run(z, job->tasks[i]);
		}
	return 0;
}

static int collect_all(struct freezer *z, struct fault *f)
{
	int left, slice_ms = 20;

	while ((left = collect_pass(z, slice_ms, f)) > 0) {
		if (look_at_stuck(z, f) < 0)
			return -1;
		slice_ms = 2;
	}
	return left;
}

/* ---- rounds ---- */

static void drop_dead_threads(struct task *t)
{
	size_t i, k = 0;

	for (i = 0; i < t->nthreads; i++) {
		if (t->threads[i].tid)
			t->threads[k++] = t->threads[i];
		else
			free(t->threads[i].regs);
	}
	t->nthreads = k;
}

/*
 * A task without a stopped leader: a zombie, gone, in the middle of dying, or represented by
 * another thread from now on. Leaves pid 0 in a task that is gone.
 */
static int settle_leaderless(struct freezer *z, struct task *t, struct fault *f)
{
	struct fault why = { 0 };
	struct proc_stat st;

	if (procfs_stat(t->tgid, 0, &st, &why) < 0) {
		if (!t->nthreads) {
			t->pid = 0;
			return 0;
		}
		return fault(f, -EAGAIN, "task %d died while it was being stopped", t->tgid);
	}
	if (t->nthreads && st.state != 'Z')
		return fault(f, -EAGAIN, "the main thread of task %d is about to exit", t->tgid);
	if (t->nthreads) {
		t->leader_dead = true;
		t->pid = t->threads[0].tid;
		return 0;
	}
	t->pid = t->tgid;
	t->leader_dead = false;
	if (st.state != 'Z') {
		z->again = true;		/* dying: it will be a zombie in a moment */
		return 0;
	}
	t->state = TASK_ZOMBIE;
	t->exit_status = st.exit_code;
	task_add_thread(t, t->pid, t->pid);
	return 0;
}

static bool all_stopped(const struct task *t)
{
	size_t i;

	for (i = 0; i < t->nthreads; i++)
		if (!t->threads[i].regs)
			return false;
	return true;
}

static int scan_task(struct freezer *z, struct task *t, struct fault *f)
{
	struct fault why = { 0 };
	struct proc_stat st;

	if (t->state == TASK_ZOMBIE)
		return 0;
	if (!t->nthreads && procfs_stat(t->pid, 0, &st, &why) == 0 && st.state != 'Z') {
		task_add_thread(t, t->pid, t->pid);	/* the leader comes first */
		if (seize_thread(z, t, &t->threads[0], f) < 0)
			return -1;
	}
	if (scan_threads(z, t, f) < 0)
		return -1;
	if (t->nthreads > MANY_THREADS && !all_stopped(t)) {
		z->again = true;
		return 0;
	}
	return scan_children(z, t, f);
}

static int one_round(struct freezer *z, struct fault *f)
{
	struct job *job = z->job;
	struct task *t;
	size_t i, k;

	for (i = 0; i < job->ntasks; i++)	/* grows while we go */
		if (scan_task(z, job->tasks[i], f) < 0)
			return -1;
	if (collect_all(z, f) < 0)
		return -1;
	for (i = k = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		for (size_t n = 0; n < t->nthreads; n++)
			if (!t->threads[n].seized && t->state != TASK_ZOMBIE)
				t->threads[n].tid = 0;
		drop_dead_threads(t);
		if ((!t->nthreads || t->threads[0].tid != t->pid) && settle_leaderless(z, t, f) < 0)
			return -1;
		if (t->pid)
			job->tasks[k++] = t;
		else if (t == job->tasks[0])
			return fault(f, -ESRCH, "task %u is gone", job->opts->pid);
	}
	job->ntasks = k;
	return 0;
}

static int add_root(struct freezer *z, struct fault *f)
{
	pid_t pid = z->job->opts->pid, up;
	struct fault why = { 0 };
	struct proc_stat st;
	struct task *t;

	if (procfs_stat(pid, 0, &st, &why) < 0)
		return fault(f, -ESRCH, "there is no task %d to dump", pid);
	for (up = getpid(); up > 0 && procfs_stat(up, 0, &st, &why) == 0; up = st.ppid)
		if (up == pid)
			return fault(f, -EDEADLK, "task %d is this stasis process or an ancestor "
				     "of it: start stasis from outside the tree", pid);
	t = job_add_task(z->job, NULL);
	t->pid = t->tgid = t->vpid = pid;
	return 0;
}

/* Children lists anew: tasks may have gone. A task whose parent changed means a second try. */
static int link_tasks(struct job *job, struct fault *f)
{
	struct proc_stat st;
	struct task *t;
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		job->tasks[i]->nchildren = 0;
	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		if (read_task(t, &st, f) < 0)
			return -1;
		if (!t->parent)
			continue;
		if (t->ppid != t->parent->tgid)
			return fault(f, -EAGAIN, "task %d lost its parent while the tree was being "
				     "stopped", t->pid);
		*(struct task **)grow(&t->parent->children, t->parent->nchildren++,
				      &t->parent->children_cap, sizeof(t)) = t;
	}
	return 0;
}

static int check_root(struct job *job, struct fault *f)
{
	if (job->tasks[0]->state == TASK_ZOMBIE)
		return fault(f, -ESRCH, "task %d has exited already (it is a zombie): nothing to "
			     "dump", job->tasks[0]->pid);
	return 0;
}

static int freeze_once(struct freezer *z, struct fault *f)
{
	int round;

	if (add_root(z, f) < 0)
		return -1;
	for (round = 0; round == 0 || z->again; round++) {
		if (round == ROUNDS_MAX || monotonic_ms() > z->end_ms)
			return fault(f, -ETIMEDOUT, "the tree of task %u creates tasks faster than "
				     "they can be stopped (%zu so far); raise --timeout or stop "
				     "what forks", z->job->opts->pid, z->job->ntasks);
		z->again = false;
		if (one_round(z, f) < 0)
			return -1;
	}
	if (link_tasks(z->job, f) < 0)
		return -1;
	return check_root(z->job, f);
}

/*
 * Busy threads would keep the processors from us: those not stopped yet, and later those let go
 * already. Real time while we stop them, and from the thaw on, when there is little left to do
 * before we exit; a high priority in between. What we fork (scripts) inherits neither.
 */
void freeze_real_time(const struct job *job, bool on)
{
	const struct sched_param param = { .sched_priority = on ? 1 : 0 };

	if (job->raised)
		sched_setscheduler(0, (on ? SCHED_FIFO : SCHED_OTHER) | SCHED_RESET_ON_FORK,
				   &param);
}

static void raise_priority(struct job *job)
{
	job->raised = setpriority(PRIO_PROCESS, 0, -20) == 0;
	freeze_real_time(job, true);
}

int freeze_tree(struct job *job, struct fault *f)
{
	struct freezer z = {
		.job = job,
		.options = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP,
		.end_ms = monotonic_ms() +
			  1000ll * (job->opts->timeout_s ? job->opts->timeout_s : 10),
	};
	const struct timespec nap = { .tv_nsec = 10000000 };
	struct fault why;
	int tries;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		stop_prepare();
		raise_priority(job);
		forget_tasks(job);
		why = (struct fault){ 0 };
		if (freeze_once(&z, &why) == 0) {
			freeze_real_time(job, false);
			return 0;
		}
		thaw_tree(job, THAW_RUN);
		if (why.code != EAGAIN)
			break;
		nanosleep(&nap, NULL);
	}
	*f = why;
	return -1;
}
