/* SPDX-License-Identifier: MIT */
/*
 * task_restore.c - limits, handlers, scheduling, robust lists, rseq, alternate stacks, prctls.
 *
 * First pass: the leader of each task sets what the process has. Second pass: every thread its own,
 * rights last. Third pass: dumpable, which changes of credentials reset, and the timers,
 * which should not run while others still work.
 *
 * Rights:   in the tasks, those of this process; CAP_SYS_RESOURCE to raise a hard limit or to
 *           lower oom_score_adj, CAP_SYS_NICE for a better priority.
 * Holds:    nothing.
 */
#include "coordinator/task_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coordinator/births.h"
#include "coordinator/creds_restore.h"
#include "coordinator/ops.h"
#include "coordinator/sched.h"
#include "coordinator/switches.h"
#include "coordinator/signals_restore.h"
#include "coordinator/timers_restore.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

#define NO_LOGINUID 0xffffffffu

static const struct inherited *ours_of(const struct job *job)
{
	return births_of(job)->ours;
}

/* ---- what a process has ---- */

static int refuse_limit(const struct task *t, int which, const struct rlimit64 *want,
			const struct rlimit64 *have, struct fault *f)
{
	static const char *const names[LIMITS] = {
		"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE",
		"RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS",
		"RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE",
		"RLIMIT_RTPRIO", "RLIMIT_RTTIME",
	};

	return fault(f, -EPERM, "task %d had a hard limit %s of %" PRIu64 ", this command has %"
		     PRIu64 " and no CAP_SYS_RESOURCE to raise it; raise it with prlimit or ulimit "
		     "first", t->pid, names[which], want->rlim_max, have->rlim_max);
}

static bool can_raise_limits(const struct inherited *ours)
{
	return ours->status.cap_eff & (1ull << CAP_SYS_RESOURCE);
}

static int add_limits(const struct inherited *ours, struct ops *o, struct task *t, struct fault *f)
{
	const TaskRlimitsEntry *l = t->threads[0].core->tc->rlimits;
	struct rlimit64 want;
	size_t i;

	for (i = 0; i < l->n_rlimits; i++) {
		want.rlim_max = l->rlimits[i]->max;
		want.rlim_cur = l->rlimits[i]->cur < want.rlim_max ? l->rlimits[i]->cur :
								     want.rlim_max;
		if (want.rlim_cur == ours->limits[i].rlim_cur &&
		    want.rlim_max == ours->limits[i].rlim_max)
			continue;
		if (want.rlim_max > ours->limits[i].rlim_max && !can_raise_limits(ours))
			return refuse_limit(t, i, &want, &ours->limits[i], f);
		if (ops_reserve(o, 1, sizeof(want) + 16, f) < 0)
			return -1;
		ops_add(o, 0, "set a limit", SYS_prlimit64, 4, gc(0), gc(i),
			ops_put(o, &want, sizeof(want)), gc(0));
	}
	return 0;
}

/* The audit id can only be written by the task itself, and only in some configurations. */
static int add_loginuid(const struct inherited *ours, struct ops *o, const TaskCoreEntry *tc,
			struct fault *f)
{
	struct gate_arg fd;
	char text[16];
	int n;

	if (!tc->has_loginuid || !ours->has_loginuid || tc->loginuid == ours->loginuid ||
	    tc->loginuid == NO_LOGINUID)
		return 0;
	if (ops_reserve(o, 3, 128, f) < 0)
		return -1;
	n = snprintf(text, sizeof(text), "%u", tc->loginuid);
	ops_try(o, 0, SYS_openat, 3, gc(AT_FDCWD), ops_put_str(o, "/proc/self/loginuid"),
		gc(O_WRONLY));
	fd = ops_last(o);
	ops_try(o, 0, SYS_write, 3, fd, ops_put(o, text, n), gc(n));
	ops_try(o, 0, SYS_close, 1, fd);
	return 0;
}

static int add_membarrier(struct ops *o, const TaskCoreEntry *tc, struct fault *f)
{
	int i;

	for (i = 0; tc->has_membarrier_registration_mask && i < 31; i++) {
		if (!(tc->membarrier_registration_mask & (1u << i)))
			continue;
		if (ops_reserve(o, 1, 0, f) < 0)
			return -1;
		ops_add(o, 0, "register for membarrier", SYS_membarrier, 2, gc(1u << i), gc(0));
	}
	return 0;
}

static int add_subreaper(struct ops *o, struct task *t, struct fault *f)
{
	const TaskCoreEntry *tc = t->threads[0].core->tc;
	bool want = tc->has_child_subreaper && tc->child_subreaper;

	if (!want)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, 0, "set child subreaper", SYS_prctl, 2, gc(PR_SET_CHILD_SUBREAPER), gc(1));
	return 0;
}

static int add_process(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	const struct inherited *ours = ours_of(job);
	const TaskCoreEntry *tc = t->threads[0].core->tc;

	if (t->state == TASK_ZOMBIE)
		return 0;
	if (add_loginuid(ours, o, tc, f) < 0 || add_limits(ours, o, t, f) < 0 ||
	    add_membarrier(o, tc, f) < 0 || add_subreaper(o, t, f) < 0 ||
	    timers_create(o, t, f) < 0)
		return -1;
	return signals_restore_task(ours, o, t, f);
}

/* From outside: a number in /proc. */
static int set_oom_score(const struct inherited *ours, const struct task *t, struct fault *f)
{
	const TaskCoreEntry *tc = t->threads[0].core->tc;
	AUTO_CLOSE int fd = -1;
	char path[48];

	if (!tc->has_oom_score_adj || tc->oom_score_adj == ours->oom_score_adj)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", t->pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && dprintf(fd, "%d", tc->oom_score_adj) > 0)
		return 0;
	if (errno == EACCES)
		return fault(f, -EACCES, "task %d had oom_score_adj %d, this command has %lld and "
			     "no CAP_SYS_RESOURCE to go below it", t->pid, tc->oom_score_adj,
			     ours->oom_score_adj);
	return fault(f, errno, "write %s", path);
}

static int set_outside(const struct inherited *ours, const struct task *t, struct fault *f)
{
	size_t k;

	if (t->state == TASK_ZOMBIE)
		return 0;
	for (k = 0; k < t->nthreads; k++)
		if (sched_restore_outside(&t->threads[k], f) < 0)
			return -1;
	return set_oom_score(ours, t, f) < 0 ? -1 : switches_set_outside(ours, t, f);
}

/* ---- what a thread has ---- */

/* Refused where the machine as a whole has decided, or needs no such thing. */
static int add_speculation(struct ops *o, const ThreadCoreEntry *t, uint32_t k, struct fault *f)
{
	if (ops_reserve(o, 2, 0, f) < 0)
		return -1;
	if (t->store_bypass)
		ops_try(o, k, SYS_prctl, 5, gc(PR_SET_SPECULATION_CTRL), gc(PR_SPEC_STORE_BYPASS),
			gc(t->store_bypass), gc(0), gc(0));
	if (t->indirect_branch)
		ops_try(o, k, SYS_prctl, 5, gc(PR_SET_SPECULATION_CTRL),
			gc(PR_SPEC_INDIRECT_BRANCH), gc(t->indirect_branch), gc(0), gc(0));
	return 0;
}

static int add_addresses(struct ops *o, const CoreEntry *core, uint32_t k, struct fault *f)
{
	const ThreadCoreEntry *t = core->thread_core;

	if (ops_reserve(o, 2, 0, f) < 0)
		return -1;
	if (core->thread_info && core->thread_info->clear_tid_addr)
		ops_add(o, k, "set its tid address", SYS_set_tid_address, 1,
			gc(core->thread_info->clear_tid_addr));
	if (t->futex_rla_len)
		ops_add(o, k, "set its robust futex list", SYS_set_robust_list, 2, gc(t->futex_rla),
			gc(t->futex_rla_len));
	return 0;
}

static int add_stack(struct ops *o, const ThreadCoreEntry *t, uint32_t k, struct fault *f)
{
	stack_t stack;

	if (!t->sas || (t->sas->ss_flags & SS_DISABLE))
		return 0;
	if (ops_reserve(o, 1, sizeof(stack) + 16, f) < 0)
		return -1;
	stack = (stack_t){
		.ss_sp = (void *)t->sas->ss_sp,
		.ss_size = t->sas->ss_size,
		.ss_flags = t->sas->ss_flags & ~SS_ONSTACK,	/* a result, not a setting */
	};
	ops_add(o, k, "set its alternate signal stack", SYS_sigaltstack, 2,
		ops_put(o, &stack, sizeof(stack)), gc(0));
	return 0;
}

/* The leader has its name already, and its threads have it from it. */
static int add_name(struct ops *o, const struct task *t, uint32_t k, struct fault *f)
{
	const CoreEntry *leader = t->threads[0].core;
	const char *inherits = leader->thread_core->comm ? leader->thread_core->comm :
							   leader->tc->comm;
	const char *name = t->threads[k].core->thread_core->comm;

	if (!k || !name || !strcmp(name, inherits))
		return 0;
	if (ops_reserve(o, 1, strlen(name) + 32, f) < 0)
		return -1;
	ops_add(o, k, "set its name", SYS_prctl, 2, gc(PR_SET_NAME), ops_put_str(o, name));
	return 0;
}

static int add_rseq(struct ops *o, const ThreadCoreEntry *t, uint32_t k, struct fault *f)
{
	const RseqEntry *r = t->rseq_entry;

	if (!r || !r->rseq_abi_pointer)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, k, "register its rseq area", SYS_rseq, 4, gc(r->rseq_abi_pointer),
		gc(r->rseq_abi_size), gc(0), gc(r->signature));
	return 0;
}

/* The signal comes when the thread that forked the task exits, which is a main thread of ours. */
static bool parent_is_to_exit(const struct task *t)
{
	return t->parent && t->parent->leader_dead;
}

static int add_parent_death(struct ops *o, const struct task *t, uint32_t k, struct fault *f)
{
	const ThreadCoreEntry *tc = t->threads[k].core->thread_core;

	if (!tc->has_pdeath_sig || !tc->pdeath_sig)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, k, "set its parent-death signal", SYS_prctl, 2, gc(PR_SET_PDEATHSIG),
		gc(tc->pdeath_sig));
	return 0;
}

static int add_one(const struct inherited *ours, struct ops *o, struct task *t, uint32_t k,
		   struct fault *f)
{
	const CoreEntry *core = t->threads[k].core;
	const ThreadCoreEntry *tc = core->thread_core;

	if (add_addresses(o, core, k, f) < 0 || add_stack(o, tc, k, f) < 0 ||
	    add_name(o, t, k, f) < 0 || add_rseq(o, tc, k, f) < 0 ||
	    signals_restore_thread(o, t, k, f) < 0 || sched_restore(ours, o, tc, k, f) < 0 ||
	    add_speculation(o, tc, k, f) < 0 || creds_restore(ours, o, t, k, f) < 0)
		return -1;
	/* After the credentials: a change of them clears it. */
	return parent_is_to_exit(t) ? 0 : add_parent_death(o, t, k, f);
}

static int add_threads(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	uint32_t k;

	if (t->state == TASK_ZOMBIE)
		return 0;
	for (k = 0; k < t->nthreads; k++)
		if (add_one(ours_of(job), o, t, k, f) < 0)
			return -1;
	return 0;
}

static int add_late(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	uint32_t k;

	(void)job;
	if (t->state == TASK_ZOMBIE || !parent_is_to_exit(t))
		return 0;
	for (k = t->leader_dead ? 1 : 0; k < t->nthreads; k++)
		if (add_parent_death(o, t, k, f) < 0)
			return -1;
	return 0;
}

int task_restore_late(struct job *job, struct fault *f)
{
	return ops_all(job, job->tasks, job->ntasks, add_late, f);
}

/* ---- the end ---- */

/* 2 (root may read a core dump) cannot be set: the safe choice is not dumpable. */
static int add_end(struct job *job, struct ops *o, struct task *t, struct fault *f)
{
	int dumpable = birth_of(t)->dumpable;

	(void)job;
	if (t->state == TASK_ZOMBIE)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	if (dumpable == 2)
		log_warnx("task %d: dumpable 2 becomes 0", t->pid);
	if (dumpable >= 0)
		ops_add(o, 0, "set dumpable", SYS_prctl, 2, gc(PR_SET_DUMPABLE), gc(dumpable == 1));
	return timers_start(o, t, f);
}

int task_restore(struct job *job, struct fault *f)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (set_outside(ours_of(job), job->tasks[i], f) < 0)
			return -1;
	if (ops_all(job, job->tasks, job->ntasks, add_process, f) < 0)
		return -1;
	step(job, "process state");
	if (ops_all(job, job->tasks, job->ntasks, add_threads, f) < 0)
		return -1;
	step(job, "thread state");
	return ops_all(job, job->tasks, job->ntasks, add_end, f);
}
