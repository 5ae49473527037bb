/* SPDX-License-Identifier: MIT */
/*
 * cuda.c - the CUDA tasks of a tree, from lock to unlock.
 *
 * Dump:     lock while tasks run; checkpoint while they are frozen, but for the thread of libcuda
 *           in the task that does the work; then the task has ordinary memory alone. At the end,
 *           where tasks live: restore and unlock, down to the state in which the task was found.
 * Restore:  restore and unlock every task that libcuda knows, also those found locked or
 *           checkpointed before the dump (as CRIU does).
 * Rights:   those of tool.c and held.c.
 * Holds:    tasks locked from cuda_pause to cuda_end; a keeper (keeper.h) that ends this should
 *           we be killed. What it must know lies in shared memory.
 *
 * The keeper is armed still when tasks are to be killed: should that not happen, they are put
 * right. It knows a task by pid and start time, so that one restored meanwhile under the same pid
 * is not touched. Where /proc does not tell (we lack descriptors, say) a task is taken to be there:
 * to unlock what is not locked fails without harm, to leave it locked is for good.
 */
#include "workers/gpu/nvidia/cuda.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/keeper.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"
#include "workers/gpu/nvidia/child.h"
#include "workers/gpu/nvidia/held.h"
#include "workers/gpu/nvidia/tool.h"

#define MAX_TASKS 65536
#define STEADY_TRIES 100	/* of 100 ms: for a state that is changing */
#define PF_EXITING 0x4u		/* of proc_stat.flags; the kernel's sched.h */
#define BUSY_MS 60000		/* the keeper waits so long for what was begun before it */

struct member {
	pid_t pid, tid;
	uint64_t started;
	enum cuda_state before;	/* what it is brought back to */
};

struct roster {
	uint32_t n;
	struct member task[MAX_TASKS];
};

struct cuda {
	const Options *opts;
	struct tool tool;
	struct roster *roster;	/* shared with the keeper */
	struct keeper keeper;
	int busy[2];		/* a pipe: its end is where nobody works on a task any more */
	bool restoring;
	pid_t judged;		/* the last one */
	int verdict;
	struct fault why;
};

struct cuda *cuda_new(const Options *opts)
{
	struct cuda *c = xcalloc(1, sizeof(*c));

	c->opts = opts;
	c->keeper = KEEPER_NONE;
	c->busy[0] = c->busy[1] = c->tool.busy_fd = -1;
	c->tool.patience_ms = opts->timeout_s * 1000;
	c->roster = mmap(NULL, sizeof(*c->roster), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->roster == MAP_FAILED)
		die("out of memory (CUDA tasks)");
	return c;
}

void cuda_free(struct cuda *c)
{
	if (!c)
		return;
	auto_close(&c->busy[1]);
	keeper_undo(&c->keeper);
	auto_close(&c->busy[0]);
	munmap(c->roster, sizeof(*c->roster));
	tool_forget(&c->tool);
	free(c);
}

static int need_tool(struct cuda *c, struct fault *f)
{
	return c->tool.kind != TOOL_NONE ? 0 : tool_find(&c->tool, f);
}

static struct member *find_member(const struct cuda *c, pid_t pid)
{
	uint32_t i;

	for (i = 0; i < c->roster->n; i++)
		if (c->roster->task[i].pid == pid)
			return &c->roster->task[i];
	return NULL;
}

/* From when it is counted on, the keeper may see it. */
static int add_member(struct cuda *c, pid_t pid, pid_t tid, enum cuda_state before, struct fault *f)
{
	uint32_t n = c->roster->n;
	struct proc_stat st;

	if (n == MAX_TASKS)
		return fault(f, -E2BIG, "more than %d CUDA tasks", MAX_TASKS);
	if (procfs_stat(pid, 0, &st, f) < 0)
		return -1;
	c->roster->task[n] = (struct member){ pid, tid, st.started, before };
	__atomic_store_n(&c->roster->n, n + 1, __ATOMIC_RELEASE);
	return 0;
}

/* ---- back to what it was ---- */

/*
 * Nothing else says that a task is gone: not a lack of descriptors or memory of ours, nor a
 * refusal.
 */
static bool says_gone(const struct fault *f)
{
	return f->code == ENOENT || f->code == ESRCH;
}

static bool is_killed(pid_t pid, struct fault *unseen)
{
	struct proc_status s;
	bool killed;

	if (procfs_status(pid, 0, &s, unseen) < 0)
		return says_gone(unseen);
	killed = (s.sig_pending | s.shared_pending) & 1ull << (SIGKILL - 1);
	proc_status_free(&s);
	return killed;
}

/*
 * Or as good as that: its number is another's soon. A task that cannot be looked at is taken to be
 * there, for it may be locked; *unseen, which must be empty, says then why it cannot.
 */
static bool is_gone(const struct member *m, struct fault *unseen)
{
	struct proc_stat st;

	if (procfs_stat(m->pid, 0, &st, unseen) < 0)
		return says_gone(unseen);
	return st.state == 'Z' || st.state == 'X' || st.flags & PF_EXITING ||
	       st.started != m->started || is_killed(m->pid, unseen);
}

static bool may_be_there(const struct member *m)
{
	struct fault unseen = { 0 };

	return !is_gone(m, &unseen);
}

/* Its state, when it has come to one. A tool that was killed leaves it at work. */
static int steady_state(const struct tool *t, pid_t pid, struct fault *f)
{
	const struct timespec pause = { 0, 100000000 };
	int i, s = CUDA_CHANGING;

	for (i = 0; s == CUDA_CHANGING && i < STEADY_TRIES; i++) {
		if (i)
			nanosleep(&pause, NULL);
		s = tool_state(t, pid, f);
	}
	if (s == CUDA_CHANGING)
		return fault(f, -ETIMEDOUT, "its CUDA state changes without end");
	return s;
}

static int bring_back(const struct tool *t, const struct member *m, struct fault *f)
{
	int s = steady_state(t, m->pid, f);

	if (s == CUDA_CHECKPOINTED && may_be_there(m)) {
		if (tool_do(t, TOOL_RESTORE, m->pid, m->tid, f) < 0)
			return -1;
		s = CUDA_LOCKED;
	}
	if (s == CUDA_LOCKED && m->before == CUDA_RUNNING && may_be_there(m) &&
	    tool_do(t, TOOL_UNLOCK, m->pid, m->tid, f) < 0)
		return -1;
	if (s == CUDA_FAILED)
		return fault(f, -ENOTRECOVERABLE, "the driver has given up its CUDA state: it must "
			     "be started anew");
	return s < 0 ? -1 : 0;
}

/* Each call takes a moment, in which the task may end: no fault then. */
static int settle(const struct tool *t, const struct member *m, struct fault *f)
{
	struct fault own = { 0 }, unseen = { 0 };

	if (m->before == CUDA_CHECKPOINTED || !may_be_there(m) || bring_back(t, m, &own) == 0 ||
	    is_gone(m, &unseen))
		return 0;
	if (!unseen.code)
		return fault(f, -own.code, "%s", own.text);
	return fault(f, -own.code, "%s (nor can it be seen whether it lives: %s)", own.text,
		     unseen.text);
}

/* In the keeper. It has its own copy of everything but the roster. */
static void settle_for_dead(void *arg)
{
	struct cuda *c = arg;
	struct pollfd p = { .fd = c->busy[0] };
	uint32_t i, n = __atomic_load_n(&c->roster->n, __ATOMIC_ACQUIRE);

	/* Closed here; it hangs up when the last child of the dead has ended. */
	c->tool.busy_fd = -1;
	poll(&p, 1, BUSY_MS);
	for (i = 0; i < n; i++) {
		struct fault f = { 0 };

		settle(&c->tool, &c->roster->task[i], &f);
	}
}

static int need_keeper(struct cuda *c, struct fault *f)
{
	if (c->keeper.pid > 0)
		return 0;
	if (child_pipe(c->busy, "to a keeper", f) < 0 ||
	    keeper_start(&c->keeper, settle_for_dead, c, c->busy[0], f) < 0)
		return -1;
	c->tool.busy_fd = c->busy[1];
	return 0;
}

/* ---- dump ---- */

static int no_cuda_task(pid_t pid, const char *name, const struct fault *said, struct fault *f)
{
	return fault(f, -ENOTSUP, "%s: task %d is no CUDA task that the driver can checkpoint "
		     "(%.100s): perhaps a child of one by fork() alone, a user of graphics, or of "
		     "NVML before driver 570; end it first", name, pid, said->text);
}

static int judge(struct cuda *c, pid_t pid, const char *name, struct fault *f)
{
	struct fault none = { 0 };
	int r, s;
	pid_t tid;

	if (need_tool(c, f) < 0)
		return fault_prefix(f, "%s", name);
	r = tool_restore_tid(&c->tool, pid, &tid, &none);
	if (r < 0)
		return fault(f, -none.code, "%s: %s", name, none.text);
	if (!r)
		return no_cuda_task(pid, name, &none, f);
	s = tool_state(&c->tool, pid, f);
	if (s == CUDA_FAILED)
		return fault(f, -EIO, "%s: the driver has given up the CUDA state of task %d", name,
			     pid);
	return s < 0 ? fault_prefix(f, "%s", name) : 1;
}

int cuda_judge(struct cuda *c, pid_t pid, const char *name, struct fault *f)
{
	if (c->judged != pid) {
		c->why.code = 0;
		c->verdict = judge(c, pid, name, &c->why);
		c->judged = pid;
	}
	if (c->verdict < 0)
		return fault(f, -c->why.code, "%s", c->why.text);
	return c->verdict;
}

/* A failed lock may have come to pass: the roster has the task already. */
static int lock(struct cuda *c, pid_t pid, pid_t tid, struct fault *f)
{
	if (need_keeper(c, f) < 0 || add_member(c, pid, tid, CUDA_RUNNING, f) < 0)
		return -1;
	if (tool_do(&c->tool, TOOL_LOCK, pid, tid, f) < 0)
		return -1;
	log_debug("task %d: its CUDA is locked", pid);
	return 1;
}

int cuda_pause(struct cuda *c, pid_t pid, struct fault *f)
{
	int held = held_by(pid, f), r, s;
	struct fault none = { 0 };
	pid_t tid;

	if (held <= 0)
		return held;
	if (c->tool.kind == TOOL_NONE && tool_find(&c->tool, &none) < 0) {
		if (held & HELD_DEVICE)
			return fault(f, -none.code, "%s", none.text);
		log_debug("task %d has libcuda but no device: %s", pid, none.text);
		return 0;
	}
	r = tool_restore_tid(&c->tool, pid, &tid, &none);
	if (r == 0 && (held & HELD_DEVICE))
		return no_cuda_task(pid, "/dev/nvidia*", &none, f);
	if (r <= 0)
		return r < 0 ? fault(f, -none.code, "%s", none.text) : 0;
	s = tool_state(&c->tool, pid, f);
	if (s < 0)
		return -1;
	if (s == CUDA_FAILED || s == CUDA_CHANGING)
		return fault(f, -EBUSY, "its CUDA is %s", s == CUDA_FAILED ?
			     "given up by the driver: it must be started anew" :
			     "being checkpointed or restored by somebody else: try again");
	if (s != CUDA_RUNNING) {
		log_info("task %d: its CUDA is %s already and is left so", pid,
			 s == CUDA_LOCKED ? "locked" : "checkpointed");
		return (s == CUDA_LOCKED && need_keeper(c, f) < 0) ||
		       add_member(c, pid, tid, s, f) < 0 ? -1 : 1;
	}
	return lock(c, pid, tid, f);
}

static int check_thread(pid_t pid, pid_t tid, struct fault *f)
{
	struct fault own = { 0 };
	struct proc_stat st;

	if (procfs_stat(pid, tid, &st, &own) == 0)
		return 0;
	if (!says_gone(&own))
		return fault(f, -own.code, "its restore thread cannot be seen: %s", own.text);
	return fault(f, -ESRCH, "its restore thread is %d, says the driver, but it has no such "
		     "thread", tid);
}

/* Of a restored task; 1: it is in the roster, to be brought to run. */
static int find_restored(struct cuda *c, pid_t pid, struct fault *f)
{
	struct fault none = { 0 };
	int held, r;
	pid_t tid;

	if (!c->restoring)
		return 0;
	held = held_by(pid, f);
	if (held <= 0)
		return held;
	r = tool_restore_tid(&c->tool, pid, &tid, &none);
	if (r < 0)
		return fault(f, -none.code, "%s", none.text);
	if (r == 0) {
		log_debug("task %d has libcuda, but no CUDA: %s", pid, none.text);
		return 0;
	}
	return add_member(c, pid, tid, CUDA_RUNNING, f) < 0 ? -1 : 1;
}

int cuda_helper(struct cuda *c, pid_t pid, pid_t *tid, struct fault *f)
{
	const struct member *m = find_member(c, pid);
	int r;

	if (!m) {
		r = find_restored(c, pid, f);
		if (r <= 0)
			return r;
		m = find_member(c, pid);
	}
	if (m->before == CUDA_CHECKPOINTED || !may_be_there(m))
		return 0;
	if (check_thread(pid, m->tid, f) < 0)
		return -1;
	*tid = m->tid;
	return 1;
}

int cuda_checkpoint(struct cuda *c, pid_t pid, struct fault *f)
{
	const struct member *m = find_member(c, pid);

	if (!m)
		return 0;
	if (m->before != CUDA_CHECKPOINTED &&
	    tool_do(&c->tool, TOOL_CHECKPOINT, pid, m->tid, f) < 0)
		return -1;
	return 1;
}

int cuda_leftover(const struct cuda *c, pid_t pid, struct fault *f)
{
	if (!find_member(c, pid))
		return fault(f, -EBUSY, "the task began to use CUDA while the dump began: try "
			     "again");
	return fault(f, -ENOTSUP, "left over by CUDA's checkpoint: opened for something else than "
		     "CUDA (NVML needs driver 570), or inherited by fork()");
}

/* The keeper tries again what fails here, when the tasks run. */
static bool settle_all(struct cuda *c)
{
	bool good = true;
	uint32_t i;

	for (i = 0; i < c->roster->n; i++) {
		const struct member *m = &c->roster->task[i];
		struct fault f = { 0 };

		if (settle(&c->tool, m, &f) == 0)
			continue;
		good = false;
		if (f.code == ENOTRECOVERABLE)
			log_error("task %d: %s", m->pid, f.text);
		else
			log_error("task %d: its CUDA may be locked still: %s; it is tried once "
				  "more when the task runs; if that fails too: cuda-checkpoint "
				  "--action restore --pid %d, then unlock",
				  m->pid, f.text, m->pid);
	}
	return good;
}

bool cuda_end(struct cuda *c, bool run_on)
{
	struct fault f = { 0 };

	if (run_on && settle_all(c)) {
		if (keeper_dismiss(&c->keeper, &f) < 0)
			log_warnx("%s", f.text);
		c->roster->n = 0;
	}
	return c->keeper.pid <= 0;
}

/* ---- restore ---- */

int cuda_require(struct cuda *c, struct fault *f)
{
	if (need_tool(c, f) < 0)
		return fault_prefix(f, "tasks of these images use CUDA");
	c->restoring = true;
	return 0;
}

int cuda_resume(struct cuda *c, pid_t pid, struct fault *f)
{
	int r = find_member(c, pid) ? 1 : find_restored(c, pid, f);

	if (r <= 0)
		return r;
	return settle(&c->tool, find_member(c, pid), f) < 0 ? -1 : 1;
}
