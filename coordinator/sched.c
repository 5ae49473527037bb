/* SPDX-License-Identifier: MIT */
/*
 * sched.c - how a thread is scheduled, both directions.
 *
 * CRIU's images have policy, nice value and real-time priority. Ours have also what SCHED_DEADLINE
 * and utilization clamping are given, the I/O priority, the processors a thread may run on and its
 * timer slack, each only where it is not the usual.
 *
 * Rights:   CAP_SYS_NICE for what is better than ours, and for the timer slack of others.
 * Holds:    nothing.
 */
#include "coordinator/sched.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

/* <linux/sched.h> does not go with <sched.h>. */
#define DEADLINE 6			/* SCHED_DEADLINE */
#define EXTENSIBLE 7			/* SCHED_EXT */
#define FLAG_RESET_ON_FORK 0x01
#define FLAGS_DEADLINE 0x06		/* RECLAIM, DL_OVERRUN */
#define FLAGS_CLAMP 0x60		/* UTIL_CLAMP_MIN, UTIL_CLAMP_MAX */
#define CLAMP_MAX 1024
#define CPU_BYTES 1024			/* the most processors that Linux has, as bits */

struct kernel_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t clamp_min, clamp_max;
};

#define FIRST_SIZE offsetof(struct kernel_sched_attr, clamp_min)

static bool is_real_time(uint32_t policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

static bool has_nice(uint32_t policy)
{
	return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE ||
	       policy == EXTENSIBLE;
}

/* ---- dump ---- */

static void dump_deadline(const struct kernel_sched_attr *a, ThreadCoreEntry *tc)
{
	tc->has_sched_runtime = tc->has_sched_deadline = tc->has_sched_period = true;
	tc->sched_runtime = a->runtime;
	tc->sched_deadline = a->deadline;
	tc->sched_period = a->period;
	tc->has_sched_flags = (a->flags & FLAGS_DEADLINE) != 0;
	tc->sched_flags = a->flags & FLAGS_DEADLINE;
}

static int dump_policy(pid_t tid, ThreadCoreEntry *tc, struct fault *f)
{
	struct kernel_sched_attr a = { 0 };

	if (syscall(SYS_sched_getattr, tid, &a, sizeof(a), 0) < 0)
		return fault(f, errno, "read the scheduling of thread %d", tid);
	if (!has_nice(a.policy) && !is_real_time(a.policy) && a.policy != DEADLINE)
		return fault(f, -ENOTSUP, "thread %d has scheduling policy %u: this is not "
			     "supported", tid, a.policy);
	tc->has_sched_nice = tc->has_sched_policy = true;
	tc->sched_policy = a.policy | (a.flags & FLAG_RESET_ON_FORK ? SCHED_RESET_ON_FORK : 0);
	errno = 0;
	tc->sched_nice = has_nice(a.policy) ? a.nice : getpriority(PRIO_PROCESS, tid);
	if (errno)
		return fault(f, errno, "read the nice value of thread %d", tid);
	if (is_real_time(a.policy)) {
		tc->has_sched_prio = true;
		tc->sched_prio = a.priority;
	}
	if (a.policy == DEADLINE)
		dump_deadline(&a, tc);
	/* Kernels without clamping leave both at 0. */
	tc->has_util_min = tc->has_util_max = a.clamp_max &&
					      (a.clamp_min || a.clamp_max != CLAMP_MAX);
	tc->util_min = a.clamp_min;
	tc->util_max = a.clamp_max;
	return 0;
}

/* Asked once: the C library opens a file in /sys for it each time. */
static long processors_online(void)
{
	static _Atomic long online;

	if (!online)
		online = sysconf(_SC_NPROCESSORS_ONLN);
	return online;
}

/* All that are online: nothing was asked for. */
static void dump_processors(pid_t tid, ThreadCoreEntry *tc)
{
	uint8_t set[CPU_BYTES];
	long i, n = syscall(SYS_sched_getaffinity, tid, sizeof(set), set), count = 0;

	for (i = 0; i < n; i++)
		count += __builtin_popcount(set[i]);
	if (n <= 0 || count >= processors_online())
		return;
	tc->has_processors = true;
	tc->processors.len = n;
	tc->processors.data = xcalloc(1, n);
	memcpy(tc->processors.data, set, n);
}

/* Kernel rule: to read another's takes CAP_SYS_NICE; without it the usual one is assumed. */
void sched_dump_slack(pid_t tid, ThreadCoreEntry *tc)
{
	struct fault none = { 0 };
	long long ns;

	if (procfs_number(tid, "timerslack_ns", 10, &ns, &none) < 0 || ns <= 0 ||
	    ns == TIMER_SLACK_USUAL)
		return;
	tc->has_timer_slack_ns = true;
	tc->timer_slack_ns = ns;
}

int sched_dump(pid_t tid, ThreadCoreEntry *tc, struct fault *f)
{
	long priority = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);

	if (dump_policy(tid, tc, f) < 0)
		return -1;
	if (priority > 0) {
		tc->has_ioprio = true;
		tc->ioprio = priority;
	}
	dump_processors(tid, tc);
	return 0;
}

/* ---- restore ---- */

const char *sched_check(const ThreadCoreEntry *tc)
{
	uint32_t policy = tc->sched_policy & ~SCHED_RESET_ON_FORK;

	if (tc->has_timer_slack_ns && (!tc->timer_slack_ns || tc->timer_slack_ns > INT64_MAX))
		return "timer_slack_ns is out of range";
	if (tc->has_processors && (!tc->processors.len || tc->processors.len > CPU_BYTES))
		return "the set of processors has an unlikely size";
	if (tc->has_ioprio && tc->ioprio > UINT16_MAX)
		return "ioprio is out of range";
	if (!tc->has_sched_policy)
		return NULL;
	if (!has_nice(policy) && !is_real_time(policy) && policy != DEADLINE)
		return "a scheduling policy that cannot be restored";
	if ((is_real_time(policy) ? tc->sched_prio < 1 || tc->sched_prio > 99 :
				    tc->sched_prio != 0) ||
	    tc->sched_nice < -20 || tc->sched_nice > 19)
		return "nice or priority is out of range";
	if (policy == DEADLINE && !tc->has_sched_runtime)
		return "SCHED_DEADLINE without its times";
	if (tc->has_util_min && (tc->util_min > tc->util_max || tc->util_max > CLAMP_MAX))
		return "the utilization clamps are out of range";
	return NULL;
}

/* Processors of another machine: the thread runs where we do. */
int sched_restore_outside(const struct thread *th, struct fault *f)
{
	const ThreadCoreEntry *tc = th->core->thread_core;

	if (tc->has_processors && syscall(SYS_sched_setaffinity, th->tid, tc->processors.len,
					  tc->processors.data) < 0)
		log_warnx("thread %d cannot be bound to the processors it had: %s", th->tid,
			  strerror(errno));
	if (tc->has_ioprio && syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, th->tid, tc->ioprio) < 0)
		return fault(f, errno, "set the I/O priority of thread %d (CAP_SYS_NICE)", th->tid);
	return 0;
}

/* Before the scheduling policy: those of real time have no slack to set. */
static int add_timer_slack(const struct inherited *ours, struct ops *o, const ThreadCoreEntry *tc,
			   uint32_t k, struct fault *f)
{
	uint64_t want = tc->has_timer_slack_ns ? tc->timer_slack_ns : TIMER_SLACK_USUAL;

	if (want == ours->timer_slack_ns)
		return 0;
	if (ops_reserve(o, 1, 0, f) < 0)
		return -1;
	ops_add(o, k, "set its timer slack", SYS_prctl, 2, gc(PR_SET_TIMERSLACK), gc(want));
	return 0;
}

static struct kernel_sched_attr wanted(const ThreadCoreEntry *tc)
{
	struct kernel_sched_attr a = {
		.size = tc->has_util_min ? sizeof(a) : FIRST_SIZE,
		.policy = tc->sched_policy & ~SCHED_RESET_ON_FORK,
		.nice = tc->has_sched_nice ? tc->sched_nice : 0,
		.priority = tc->has_sched_prio ? tc->sched_prio : 0,
		.flags = tc->sched_policy & SCHED_RESET_ON_FORK ? FLAG_RESET_ON_FORK : 0,
	};

	if (a.policy == DEADLINE) {
		a.runtime = tc->sched_runtime;
		a.deadline = tc->sched_deadline;
		a.period = tc->sched_period;
		a.flags |= tc->sched_flags & FLAGS_DEADLINE;
	}
	if (tc->has_util_min) {
		a.clamp_min = tc->util_min;
		a.clamp_max = tc->util_max;
		a.flags |= FLAGS_CLAMP;
	}
	return a;
}

int sched_restore(const struct inherited *ours, struct ops *o, const ThreadCoreEntry *tc,
		  uint32_t k, struct fault *f)
{
	const struct kernel_sched_attr a = wanted(tc);

	if (add_timer_slack(ours, o, tc, k, f) < 0)
		return -1;
	if (!tc->has_sched_policy || (tc->sched_policy == (uint32_t)ours->policy &&
	    a.nice == ours->nice && a.priority == (uint32_t)ours->priority && !tc->has_util_min))
		return 0;
	if (ops_reserve(o, 2, sizeof(a) + 16, f) < 0)
		return -1;
	if (!has_nice(a.policy))
		ops_add(o, k, "set its nice value (CAP_SYS_NICE)", SYS_setpriority, 3,
			gc(PRIO_PROCESS), gc(0), gc(a.nice));
	ops_add(o, k, "set its scheduling policy and priority (CAP_SYS_NICE)", SYS_sched_setattr, 3,
		gc(0), ops_put(o, &a, sizeof(a)), gc(0));
	return 0;
}
