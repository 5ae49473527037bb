/* SPDX-License-Identifier: MIT */
/*
 * fork_tree.c - make the processes of a tree, in the order that births.c found.
 *
 * The root is cloned from this process by raw system calls: the bus has a thread here, so a child
 * may not touch the C library. All others are cloned by their makers' agents. Until the groups are
 * done, descriptor 0 of every task is the gate memory, from which makers map their
 * children's windows.
 *
 * Rights:   CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN (clone3 with chosen pids), ptrace.
 * Holds:    the tree, seized with PTRACE_O_EXITKILL. A task not seized yet ends by itself when
 *           we die: its agent watches the death word (gate_guard).
 */
#include "coordinator/fork_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/ops.h"
#include "coordinator/births.h"
#include "coordinator/raw.h"
#include "coordinator/rebuild.h"
#include "coordinator/tree_load.h"
#include "coordinator/windows.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

#define READY_MS 10000
#define UNDO_MS 2000
#define ZOMBIE_MS 100
#define MEMORY_FD 0		/* of the gate memory in every task */
#define SMALL_TABLE 64		/* every task has room for as many descriptors (NR_OPEN_DEFAULT) */

int fork_prepare(struct job *job, struct fault *f)
{
	return windows_make(job, f);
}

/* ---- the root ---- */

/* What the new process needs; it must not look anywhere else. */
struct root_start {
	struct clone_args args;
	pid_t want;
	int memory;
	struct gate_place place;
	uint64_t mailbox;
	uint64_t rseq, rseq_size;	/* glibc's registration, to be undone */
	uint64_t handler[4];		/* struct sigaction of the kernel: default */
};

/*
 * In the child. Without the rseq registration undone, the kernel would write into the memory that
 * the restore unmaps. SIGCHLD must be default for zombies to stay.
 */
static noreturn void become_agent(const struct root_start *s)
{
	uint64_t at = s->place.base, mailbox = s->mailbox;
	const long flags = MAP_SHARED | MAP_FIXED_NOREPLACE;
	long r;

	if (s->rseq_size)
		raw(SYS_rseq, s->rseq, s->rseq_size, 1, RSEQ_SIG, 0, 0);
	raw(SYS_rt_sigaction, SIGCHLD, (long)s->handler, 0, 8, 0, 0);
	r = raw(SYS_mmap, at, s->place.size, PROT_READ | PROT_WRITE | PROT_EXEC, flags, s->memory,
		s->place.file_offset);
	if (r == (long)at && raw(SYS_dup2, s->memory, MEMORY_FD, 0, 0, 0, 0) == MEMORY_FD &&
	    raw(SYS_close_range, MEMORY_FD + 1, ~0u, 0, 0, 0, 0) == 0)
		__asm__ volatile("jmp *%0" : : "r"(at), "b"(mailbox) : "memory");
	for (;;)
		raw(SYS_exit_group, 1, 0, 0, 0, 0, 0);
}

static int explain_clone(const struct task *t, pid_t id, int code, struct fault *f)
{
	if (code == EEXIST)
		return fault(f, -EEXIST, "task %d: id %d was taken by another task meanwhile; end "
			     "it and try again", t->pid, id);
	if (code == EPERM)
		return fault(f, -EPERM, "task %d: no right to choose a pid; CAP_CHECKPOINT_RESTORE "
			     "or CAP_SYS_ADMIN is needed", t->pid);
	if (code == EAGAIN)
		return fault(f, -EAGAIN, "task %d: the kernel allows no more tasks; raise the "
			     "limit on processes (ulimit -u, pids.max, threads-max)", t->pid);
	return fault(f, code, "task %d: make task %d", t->pid, id);
}

static void fill_root_start(struct job *job, struct task *t, struct root_start *s)
{
	s->want = t->pid;
	s->args.set_tid = (uint64_t)&s->want;
	s->args.set_tid_size = 1;
	s->args.flags = CLONE_CLEAR_SIGHAND;
	s->args.exit_signal = SIGCHLD;
	if (job->opts->restore_sibling) {
		s->args.flags |= CLONE_PARENT;
		s->args.exit_signal = 0;	/* that of this process */
	}
	s->memory = births_of(job)->memory;
	s->place = birth_of(t)->place;
	s->mailbox = gate_mailbox_address(t->gate, 0);
	s->rseq = (uint64_t)__builtin_thread_pointer() + __rseq_offset;
	s->rseq_size = __rseq_size ? __rseq_size < 32 ? 32 : __rseq_size : 0;
}

static int seize(struct task *t, struct fault *f)
{
	if (ptrace(PTRACE_SEIZE, t->pid, NULL, PTRACE_O_EXITKILL) < 0)
		return fault(f, errno, "seize task %d", t->pid);
	t->threads[0].seized = true;
	return 0;
}

int fork_root(struct job *job, struct fault *f)
{
	struct root_start s = { 0 };
	struct task *t = births_of(job)->all[0];
	const uint64_t all = ~0ull;
	uint64_t old;
	long pid;

	if (window_open(job, t, f) < 0)
		return -1;
	fill_root_start(job, t, &s);
	/* glibc's sigprocmask leaves out 32 and 33, which its timers and setuid use. */
	raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&old, sizeof(all), 0, 0);
	pid = raw(SYS_clone3, (long)&s.args, sizeof(s.args), 0, 0, 0, 0);
	if (!pid)
		become_agent(&s);
	raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0, sizeof(old), 0, 0);
	if (pid < 0)
		return explain_clone(t, t->pid, -pid, f);
	birth_of(t)->exists = true;
	step(job, "root task");
	if (seize(t, f) < 0)
		return -1;
	return gate_wait_ready(t->gate, 0, READY_MS, f);
}

/* ---- children ---- */

static uint64_t clone_flags(const struct task *t)
{
	const struct task *maker = birth_of(t)->maker;
	uint64_t flags = 0;

	if (birth_of(t)->helper || t->state == TASK_ZOMBIE)
		return CLONE_FILES | CLONE_FS;
	if (!maker || birth_of(maker)->helper)
		return 0;
	if (t->files_id == maker->files_id && maker->state != TASK_ZOMBIE)
		flags |= CLONE_FILES;
	if (t->fs_id == maker->fs_id && maker->state != TASK_ZOMBIE)
		flags |= CLONE_FS;
	return flags;
}

/* Map the child's window beside our own, clone, unmap: the child keeps its copy. */
static int add_fork(struct job *job, struct ops *o, struct task *child, struct fault *f)
{
	const struct gate_place *w = &birth_of(child)->place;
	struct {
		struct clone_args args;
		int32_t want;
	} a = { .want = child->pid };
	struct gate_arg at;

	if (window_open(job, child, f) < 0 || ops_reserve(o, 3, sizeof(a) + 32, f) < 0)
		return -1;
	at = ops_put(o, &a.want, sizeof(a.want));
	a.args.set_tid = gate_arena_address(birth_of(child)->maker->gate) + at.value;
	a.args.set_tid_size = 1;
	a.args.exit_signal = SIGCHLD;
	a.args.flags = clone_flags(child);
	ops_add(o, 0, "map the window of its child", SYS_mmap, 6, gc(w->base), gc(w->size),
		gc(PROT_READ | PROT_WRITE | PROT_EXEC), gc(MAP_SHARED | MAP_FIXED_NOREPLACE),
		gc(MEMORY_FD), gc(w->file_offset));
	ops_add(o, 0, "fork its child", GATE_OP_CLONE, 4, ops_put(o, &a.args, sizeof(a.args)),
		gc(sizeof(a.args)), gc(gate_mailbox_address(child->gate, 0)),
		gc(gate_entry(child->gate)));
	ops_expect(o, child->pid);
	ops_add(o, 0, "unmap the window of its child", SYS_munmap, 2, gc(w->base), gc(w->size));
	return 0;
}

static int add_forks(struct job *job, struct ops *o, struct task *t, bool early, struct fault *f)
{
	struct birth *b = birth_of(t);
	size_t i;

	for (i = 0; i < b->nmade; i++)
		if (birth_of(b->made[i])->early == early && add_fork(job, o, b->made[i], f) < 0)
			return -1;
	return 0;
}

static int add_unmap(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	struct birth *b = birth_of(t);

	(void)job;
	if (!b->maker || b->settled)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, 0, "unmap its parent's window", SYS_munmap, 2,
		gc(birth_of(b->maker)->place.base), gc(birth_of(b->maker)->place.size));
	b->settled = true;
	return 0;
}

/* A task's part of the forking: children of its old session, its own session, the others. */
static int add_family(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	if (add_unmap(job, o, t, f) < 0 || add_forks(job, o, t, true, f) < 0 ||
	    ops_reserve(o, 1, 0, f) < 0)
		return -1;
	if (t->sid == t->pid)
		ops_add(o, 0, "begin its session", SYS_setsid, 0);
	return add_forks(job, o, t, false, f);
}

/* The new ones: agent up, seized so that nothing survives us. */
static int welcome(struct task **level, size_t n, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++) {
		birth_of(level[i])->exists = true;
		if (gate_wait_ready(level[i]->gate, 0, READY_MS, f) < 0)
			return -1;
		if (!birth_of(level[i])->helper && level[i]->state != TASK_ZOMBIE &&
		    !level[i]->threads[0].seized && seize(level[i], f) < 0)
			return -1;
	}
	return 0;
}

static int build_first(struct job *job, struct task **level, size_t n, build_fn *build,
		       struct fault *f)
{
	AUTO_FREE struct task **first = xcalloc(n, sizeof(*first));
	size_t i, k = 0;

	for (i = 0; i < n; i++)
		if (birth_of(level[i])->fill_first)
			first[k++] = level[i];
	if (!k)
		return 0;
	if (ops_all(job, first, k, add_unmap, f) < 0 || build(job, first, k, f) < 0)
		return -1;
	for (i = 0; i < k; i++)
		birth_of(first[i])->built = true;
	step(job, "parents' memory");
	return 0;
}

int fork_rest(struct job *job, build_fn *build, struct fault *f)
{
	struct births *p = births_of(job);
	size_t i, next;

	for (i = 0; i < p->nall; i = next) {
		unsigned depth = birth_of(p->all[i])->depth;

		for (next = i; next < p->nall && birth_of(p->all[next])->depth == depth; next++)
			;
		if (welcome(p->all + i, next - i, f) < 0 ||
		    build_first(job, p->all + i, next - i, build, f) < 0 ||
		    ops_all(job, p->all + i, next - i, add_family, f) < 0)
			return -1;
		step(job, "children");
	}
	return 0;
}

/* ---- groups, helpers, orphans ---- */

static int set_group(struct ops *o, struct task *t, pid_t group, struct fault *f)
{
	if (birth_of(t)->group == group)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, 0, "join its process group", SYS_setpgid, 2, gc(0), gc(group));
	birth_of(t)->group = group;
	return 0;
}

static int add_founding(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	(void)job;
	if (t->sid == t->pid || !(birth_of(t)->founds || t->pgid == t->pid))
		return 0;
	return set_group(o, t, t->pid, f);
}

static int add_joining(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	(void)job;
	return birth_of(t)->founds ? 0 : set_group(o, t, t->pgid, f);
}

/*
 * A descriptor table that will not grow: in a task with threads each doubling waits for an RCU
 * grace period (milliseconds). Where RLIMIT_NOFILE forbids it the files worker says so, later.
 */
static void add_big_table(struct ops *o, uint32_t top)
{
	if (top < SMALL_TABLE)
		return;
	ops_try(o, 0, SYS_dup3, 3, gc(MEMORY_FD), gc(top), gc(O_CLOEXEC));
	ops_try(o, 0, SYS_close, 1, gc(top));
}

/* Founders of a group that went elsewhere; and nobody forks any more. */
static int add_leaving(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	(void)job;
	if (set_group(o, t, t->pgid, f) < 0 || ops_reserve(o, 3, 0, f) < 0)
		return -1;
	if (clone_flags(t) & CLONE_FILES)
		return 0;
	add_big_table(o, rebuild_last_fd(t));
	ops_add(o, 0, "close the memory of the agents", SYS_close, 1, gc(MEMORY_FD));
	return 0;
}

/* The agent does not answer to its own exit. */
static void end_helper(struct task *h)
{
	AUTO_BATCH struct batch *b = batch_begin(h->gate);

	batch_op(b, 0, 0, SYS_exit_group, 1, gc(0));
	batch_start(b);
}

/* By its maker, or by who inherited it when that one ended. */
static int reap_helper(struct task *h, struct fault *f)
{
	struct task *parent = birth_of(h)->maker;
	AUTO_OPS struct ops *o = NULL;

	while (birth_of(parent)->helper && !birth_of(parent)->exists)
		parent = birth_of(parent)->heir;
	birth_of(parent)->reaped = true;
	o = ops_begin(parent);
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, 0, "reap a helper", SYS_wait4, 4, gc(h->pid), gc(0), gc(0), gc(0));
	ops_expect(o, h->pid);
	if (ops_run(o, f) < 0)
		return -1;
	birth_of(h)->exists = false;
	window_close(h);
	return 0;
}

static int set_subreaper(struct task *t, bool on, struct fault *f)
{
	AUTO_OPS struct ops *o = ops_begin(t);

	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, 0, "be child subreaper", SYS_prctl, 2, gc(PR_SET_CHILD_SUBREAPER), gc(on));
	return ops_run(o, f);
}

/* The helpers of one heir end; meanwhile it is the only child subreaper. */
static int end_helpers_of(struct births *p, struct task *heir, struct fault *f)
{
	size_t i, n = 0;

	for (i = 0; i < p->nhelpers; i++)
		n += birth_of(p->helpers[i])->heir == heir;
	if (!n)
		return 0;
	if (heir && set_subreaper(heir, true, f) < 0)
		return -1;
	for (i = 0; i < p->nhelpers; i++)
		if (birth_of(p->helpers[i])->heir == heir)
			end_helper(p->helpers[i]);
	for (i = 0; i < p->nhelpers; i++)
		if (birth_of(p->helpers[i])->heir == heir && reap_helper(p->helpers[i], f) < 0)
			return -1;
	return heir ? set_subreaper(heir, false, f) : 0;
}

/*
 * The deepest heirs first: what goes to one further up may have taken with it tasks that an heir
 * below was to inherit from.
 */
static int end_helpers(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);
	size_t i;

	if (!p->nhelpers)
		return 0;
	if (end_helpers_of(p, NULL, f) < 0)
		return -1;
	for (i = p->nall; i-- > 0;)
		if (!birth_of(p->all[i])->helper && end_helpers_of(p, p->all[i], f) < 0)
			return -1;
	return 0;
}

int fork_check_orphans(struct job *job, struct fault *f)
{
	struct proc_stat st;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		struct task *t = job->tasks[i];

		if (!birth_of(t)->orphan)
			continue;
		if (procfs_stat(t->pid, 0, &st, f) < 0)
			return -1;
		if (st.ppid != t->parent->pid)
			return fault(f, -EPROTO, "task %d has become a child of %d, not of %d",
				     t->pid, st.ppid, t->parent->pid);
	}
	return 0;
}

int fork_groups(struct job *job, struct fault *f)
{
	struct births *p = births_of(job);

	if (ops_all(job, p->all, p->nall, add_founding, f) < 0 ||
	    ops_all(job, p->all, p->nall, add_joining, f) < 0 ||
	    ops_all(job, p->all, p->nall, add_leaving, f) < 0)
		return -1;
	step(job, "process groups");
	return end_helpers(job, f);
}

/* ---- undoing ---- */

/*
 * Tell an agent that its peer died. For a process that may or may not have come to exist: its
 * pid must not be killed by number, it could be somebody else's.
 */
static void dismiss(struct task *t)
{
	struct gate_mailbox *m = gate_mailbox(t->gate, 0);

	__atomic_fetch_or(&m->death, GATE_DEATH_BIT, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &m->death, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
	syscall(SYS_futex, &m->request, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void end_task(struct task *t)
{
	bool up = t->gate && gate_mailbox(t->gate, 0)->state != GATE_ABSENT;

	if (t->gate)
		dismiss(t);
	if (t->threads[0].seized || (up && birth_of(t)->exists))
		kill(t->pid, SIGKILL);
}

static bool lives(pid_t pid)
{
	struct fault none = { 0 };
	struct proc_stat st;

	return procfs_stat(pid, 0, &st, &none) == 0 && st.state != 'Z' && st.state != 'X';
}

/*
 * A traced task is reaped twice: as its tracer, after its other traced threads, then as the parent
 * that we have become. With --restore-sibling our own parent must reap the root: a zombie of it may
 * stay.
 */
static void await_end(struct task *t)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	size_t k;
	int i;

	for (i = 0; i < UNDO_MS && id_in_use(t->pid); i++) {
		for (k = t->nthreads; k-- > 0;)
			if (!k || t->threads[k].seized)
				waitpid(t->threads[k].tid, NULL, __WALL | WNOHANG);
		if (i > ZOMBIE_MS && !lives(t->pid))
			return;
		if (id_in_use(t->pid))
			nanosleep(&pause, NULL);
	}
	if (i == UNDO_MS)
		log_warnx("task %d does not die", t->pid);
}

/* Orphans become ours, so that no zombie is left to a lazy init. */
void fork_undo(struct job *job)
{
	struct births *p = births_of(job);
	size_t i;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (i = 0; i < p->nall; i++)
		if (birth_of(p->all[i])->exists || p->all[i]->gate)
			end_task(p->all[i]);
	for (i = p->nall; i-- > 0;)
		if (birth_of(p->all[i])->exists || p->all[i]->gate)
			await_end(p->all[i]);
	fork_release(job);
}

void fork_release(struct job *job)
{
	struct births *p = births_of(job);
	size_t i;

	for (i = 0; i < p->nall; i++)
		window_close(p->all[i]);
	auto_close(&p->memory);
	p->memory = -1;
}
