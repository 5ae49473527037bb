/* SPDX-License-Identifier: MIT */
/*
 * thread_dump.c - what is seen of a frozen thread or task from outside.
 *
 * A thread costs one read of its status and one of its cgroups in /proc, a dozen cheap system calls
 * and its registers: with 10,000 threads everything here counts. Its timer slack is a third look at
 * /proc, taken only where the thread itself said that it is not the usual. What /proc tells may be
 * read by any thread of ours, the rest needs the tracer.
 *
 * Rights:   being the tracer, /proc of the task.
 * Holds:    nothing; fills thread->core.
 */
#include "coordinator/thread_dump.h"

#include <asm/ldt.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "coordinator/creds.h"
#include "coordinator/freeze.h"
#include "coordinator/registers.h"
#include "coordinator/restart.h"
#include "coordinator/sched.h"
#include "coordinator/signals_dump.h"
#include "coordinator/switches.h"
#include "coordinator/task_image.h"
#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define GET_THREAD_AREA 25		/* PTRACE_GET_THREAD_AREA, absent from <linux/ptrace.h> */
#define TLS_FIRST 12			/* GDT_ENTRY_TLS_MIN of 64-bit kernels */
#define TLS_COUNT 3

static CoreEntry *new_core(void)
{
	CoreEntry *c = xcalloc(1, sizeof(*c));

	core_entry__init(c);
	c->mtype = CORE_ENTRY__MARCH__X86_64;
	return c;
}

static TaskCoreEntry *new_task_core(void)
{
	TaskCoreEntry *tc = xcalloc(1, sizeof(*tc));

	task_core_entry__init(tc);
	return tc;
}

/* ---- threads ---- */

static int dump_tls(pid_t tid, ThreadInfoX86 *info, struct fault *f)
{
	size_t i;

	info->tls = xcalloc(TLS_COUNT, sizeof(*info->tls));
	for (i = 0; i < TLS_COUNT; i++) {
		UserDescT *e = xcalloc(1, sizeof(*e));
		struct user_desc d = { 0 };

		user_desc_t__init(e);
		info->tls[info->n_tls++] = e;
		if (syscall(SYS_ptrace, GET_THREAD_AREA, tid, TLS_FIRST + i, &d) < 0)
			return fault(f, errno, "read the TLS descriptors of thread %d", tid);
		e->entry_number = d.entry_number;
		e->base_addr = d.base_addr;
		e->limit = d.limit;
		e->seg_32bit = d.seg_32bit;
		e->contents_h = d.contents & 2;
		e->contents_l = d.contents & 1;
		e->read_exec_only = d.read_exec_only;
		e->limit_in_pages = d.limit_in_pages;
		e->seg_not_present = d.seg_not_present;
		e->usable = d.useable;
	}
	return 0;
}

static int dump_registers(const struct thread *th, CoreEntry *c, struct fault *f)
{
	const struct frozen *fz = thread_frozen(th);

	c->thread_info = xcalloc(1, sizeof(*c->thread_info));
	thread_info_x86__init(c->thread_info);
	if (registers_save(th->tid, &fz->regs, c->thread_info, f) < 0)
		return -1;
	restart_note_left(c->thread_info, fz->sleep_left_ns);
	return dump_tls(th->tid, c->thread_info, f);
}

static int dump_robust_list(pid_t tid, ThreadCoreEntry *tc, struct fault *f)
{
	uint64_t head = 0, len = 0;

	if (syscall(SYS_get_robust_list, tid, &head, &len) < 0 && errno != ENOSYS)
		return fault(f, errno, "read the robust futex list of thread %d", tid);
	tc->futex_rla = head;
	tc->futex_rla_len = len;
	return 0;
}

/* Pending for the thread; for the leader also those pending for the group. */
static int dump_signals(pid_t tid, CoreEntry *c, struct fault *f)
{
	c->thread_core->signals_p = signals_pending(tid, false, f);
	if (c->thread_core->signals_p && c->tc)
		c->tc->signals_s = signals_pending(tid, true, f);
	return f->code ? -1 : 0;
}

void thread_dump_new(struct thread *th, bool leader)
{
	CoreEntry *c = new_core();

	th->core = c;
	c->thread_core = xcalloc(1, sizeof(*c->thread_core));
	thread_core_entry__init(c->thread_core);
	if (leader)
		c->tc = new_task_core();
}

int thread_dump_stopped(struct thread *th, struct fault *f)
{
	uint64_t mask = thread_frozen(th)->sigmask;
	CoreEntry *c = th->core;

	if (c->tc) {
		c->tc->blk_sigset = mask;
	} else {
		c->thread_core->has_blk_sigset = true;
		c->thread_core->blk_sigset = mask;
	}
	return dump_registers(th, c, f) < 0 ? -1 : dump_signals(th->tid, c, f);
}

int thread_dump_outside(const struct task *t, struct thread *th, struct cgroup_sets *sets,
			Lsmtype module, struct fault *f)
{
	ThreadCoreEntry *tc = th->core->thread_core;
	struct proc_status s;

	if (sched_dump(th->tid, tc, f) < 0 || dump_robust_list(th->tid, tc, f) < 0 ||
	    procfs_status(t->pid, th->tid, &s, f) < 0)
		return -1;
	tc->comm = xstrdup(s.name);
	tc->creds = creds_dump(&s);
	if (labels_dump(module, t->pid, th->tid, tc->creds, f) < 0) {
		proc_status_free(&s);
		return -1;
	}
	tc->has_store_bypass = s.store_bypass != 0;
	tc->store_bypass = s.store_bypass;
	tc->has_indirect_branch = s.indirect_branch != 0;
	tc->indirect_branch = s.indirect_branch;
	if (s.seccomp == SECCOMP_MODE_STRICT) {
		tc->has_seccomp_mode = true;
		tc->seccomp_mode = SECCOMP_MODE__strict;
	}
	proc_status_free(&s);
	tc->has_cg_set = true;
	tc->cg_set = cgroup_sets_of(sets, t->pid, th->tid, f);
	if (!tc->cg_set)
		return -1;
	return th->core->tc ? switches_look(t->pid, t->sid == t->tgid, th->core->tc, f) : 0;
}

void thread_dump_facts(struct thread *th)
{
	const struct frozen *fz = thread_frozen(th);
	ThreadCoreEntry *tc = th->core->thread_core;

	th->core->thread_info->clear_tid_addr = fz->facts.clear_tid_addr;
	tc->creds->secbits = fz->facts.securebits;
	tc->sas = xcalloc(1, sizeof(*tc->sas));
	thread_sas_entry__init(tc->sas);
	tc->sas->ss_sp = fz->facts.sas_sp;
	tc->sas->ss_size = fz->facts.sas_size;
	tc->sas->ss_flags = fz->facts.sas_flags;
	if (fz->facts.slack_unusual)
		sched_dump_slack(th->tid, tc);
	if (fz->facts.pdeath_sig) {
		tc->has_pdeath_sig = true;
		tc->pdeath_sig = fz->facts.pdeath_sig;
	}
	if (fz->rseq.rseq_abi_pointer) {
		tc->rseq_entry = xcalloc(1, sizeof(*tc->rseq_entry));
		rseq_entry__init(tc->rseq_entry);
		tc->rseq_entry->rseq_abi_pointer = fz->rseq.rseq_abi_pointer;
		tc->rseq_entry->rseq_abi_size = fz->rseq.rseq_abi_size;
		tc->rseq_entry->signature = fz->rseq.signature;
	}
}

/* ---- tasks ---- */

static int dump_limits(pid_t pid, TaskCoreEntry *tc, struct fault *f)
{
	struct rlimit64 limits[PROC_RLIMITS];
	TaskRlimitsEntry *r = xcalloc(1, sizeof(*r));
	size_t i;

	tc->rlimits = r;
	task_rlimits_entry__init(r);
	if (procfs_limits(pid, limits, f) < 0)
		return -1;
	r->rlimits = xcalloc(PROC_RLIMITS, sizeof(*r->rlimits));
	for (i = 0; i < PROC_RLIMITS; i++) {
		RlimitEntry *e = xcalloc(1, sizeof(*e));

		rlimit_entry__init(e);
		e->cur = limits[i].rlim_cur;
		e->max = limits[i].rlim_max;
		r->rlimits[r->n_rlimits++] = e;
	}
	return 0;
}

static int dump_numbers(pid_t pid, TaskCoreEntry *tc, struct fault *f)
{
	struct fault none = { 0 };
	long long v;

	if (procfs_number(pid, "oom_score_adj", 10, &v, f) < 0)
		return -1;
	tc->has_oom_score_adj = true;
	tc->oom_score_adj = v;
	if (procfs_number(pid, "personality", 16, &v, f) < 0)
		return -1;
	tc->personality = v;
	/* Absent without CONFIG_AUDITSYSCALL. */
	if (procfs_number(pid, "loginuid", 10, &v, &none) == 0) {
		tc->has_loginuid = true;
		tc->loginuid = v;
	}
	return 0;
}

int task_dump(struct task *t, struct fault *f)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	struct proc_stat st;

	if (procfs_stat(t->pid, 0, &st, f) < 0)
		return -1;
	tc->comm = xstrdup(t->threads[0].core->thread_core->comm);
	tc->flags = st.flags;
	tc->task_state = IMAGE_TASK_ALIVE;
	if (t->state == TASK_STOPPED) {
		tc->task_state = IMAGE_TASK_STOPPED;
		tc->has_stop_signo = true;
		tc->stop_signo = t->stop_signal;
	}
	if (dump_numbers(t->pid, tc, f) < 0)
		return -1;
	return dump_limits(t->pid, tc, f);
}

/*
 * What concerns the whole task goes from the thread that stands for it to the entry of its dead
 * leader, beside what /proc still shows of that.
 */
int task_dump_dead_leader(struct task *t, struct cgroup_sets *sets, Lsmtype module, struct fault *f)
{
	struct thread leader = { .tid = t->tgid, .vtid = t->vpid };
	CoreEntry *first = t->threads[0].core, *c;
	struct proc_stat st;

	thread_dump_new(&leader, false);
	c = t->leader_core = leader.core;
	if (thread_dump_outside(t, &leader, sets, module, f) < 0 ||
	    procfs_stat(t->tgid, t->tgid, &st, f) < 0)
		return -1;
	sched_dump_slack(t->tgid, c->thread_core);
	/* The kernel takes the filters from who exits, and shows it in the root of its cgroups. */
	c->thread_core->has_seccomp_mode = false;
	c->thread_core->cg_set = first->thread_core->cg_set;
	c->tc = first->tc;
	first->tc = NULL;
	first->thread_core->has_blk_sigset = true;
	first->thread_core->blk_sigset = c->tc->blk_sigset;
	free(c->tc->comm);
	c->tc->comm = xstrdup(c->thread_core->comm);
	c->tc->exit_code = st.exit_code;
	c->tc->task_state = IMAGE_TASK_LEADERLESS;
	return 0;
}

int task_dump_zombie(struct task *t, struct fault *f)
{
	struct proc_stat st;
	CoreEntry *c;

	if (procfs_stat(t->pid, 0, &st, f) < 0)
		return -1;
	c = new_core();
	t->threads[0].core = c;
	c->tc = new_task_core();
	c->tc->comm = xstrdup(st.comm);
	c->tc->task_state = IMAGE_TASK_DEAD;
	c->tc->exit_code = t->exit_status;
	return 0;
}
