/* SPDX-License-Identifier: MIT */
/*
 * core_check.c - check core-*.img before any task exists.
 *
 * An image is untrusted: lengths, counts and enumerations are checked here, once, and used
 * without checks afterwards. What we cannot restore is refused by name.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/core_check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "coordinator/registers.h"
#include "coordinator/sched.h"
#include "coordinator/switches.h"
#include "coordinator/task_image.h"

/* Every fault of an image reads the same way. */
static int bad(pid_t pid, pid_t tid, const char *what, struct fault *f)
{
	return fault(f, -EINVAL, "core-%d.img (task %d): %s", tid, pid, what);
}

static int check_queue(pid_t pid, pid_t tid, const SignalQueueEntry *q, struct fault *f)
{
	size_t i;
	int signo;

	for (i = 0; q && i < q->n_signals; i++) {
		const ProtobufCBinaryData *s = &q->signals[i]->siginfo;

		if (s->len != SIGINFO_SIZE)
			return bad(pid, tid, "a pending signal does not have 128 bytes", f);
		memcpy(&signo, s->data, sizeof(signo));
		if (signo < 1 || signo > SIGNALS)
			return bad(pid, tid, "a pending signal has a number out of range", f);
		if (signo == SIGKILL)
			return bad(pid, tid, "SIGKILL is pending: the task was about to die", f);
	}
	return 0;
}

static int check_timers(pid_t pid, const TaskTimersEntry *t, struct fault *f)
{
	size_t i;

	if (!t)
		return bad(pid, pid, "no timers: the image is of a tool too old", f);
	for (i = 0; i < t->n_posix; i++) {
		const PosixTimerEntry *p = t->posix[i];

		if (p->it_id > INT32_MAX || p->insec > 999999999 || p->vnsec > 999999999 ||
		    p->si_signo > SIGNALS)
			return bad(pid, pid, "a POSIX timer has a number out of range", f);
	}
	if (t->real->iusec > 999999 || t->real->vusec > 999999 || t->virt->iusec > 999999 ||
	    t->virt->vusec > 999999 || t->prof->iusec > 999999 || t->prof->vusec > 999999)
		return bad(pid, pid, "an interval timer has a number out of range", f);
	return 0;
}

static int check_limits(pid_t pid, const TaskRlimitsEntry *l, struct fault *f)
{
	if (!l)
		return bad(pid, pid, "no limits: the image is of a tool too old", f);
	if (l->n_rlimits > LIMITS)
		return bad(pid, pid, "more limits than the kernel has", f);
	return 0;
}

static int check_state(pid_t pid, const TaskCoreEntry *tc, struct fault *f)
{
	switch (tc->task_state) {
	case IMAGE_TASK_ALIVE:
	case IMAGE_TASK_DEAD:
	case IMAGE_TASK_STOPPED:
	case IMAGE_TASK_ZOMBIE:
	case IMAGE_TASK_LEADERLESS:
		return 0;
	}
	return bad(pid, pid, "unknown task state", f);
}

int core_check_leader(pid_t pid, const CoreEntry *core, bool alive, struct fault *f)
{
	const TaskCoreEntry *tc = core->tc;

	if (!tc)
		return bad(pid, pid, "the part on the whole task is missing", f);
	if (check_state(pid, tc, f) < 0)
		return -1;
	if (strlen(tc->comm) >= COMM_SIZE)
		return bad(pid, pid, "the command name is too long", f);
	if (!alive)
		return 0;
	if (tc->n_sigactions != SIGNALS - 2)
		return bad(pid, pid, "there must be 62 signal handlers", f);
	if (tc->has_stop_signo && tc->stop_signo > SIGNALS)
		return bad(pid, pid, "stop_signo is out of range", f);
	if (switches_check(tc))
		return bad(pid, pid, switches_check(tc), f);
	if (check_timers(pid, tc->timers, f) < 0 || check_limits(pid, tc->rlimits, f) < 0 ||
	    check_queue(pid, pid, tc->signals_s, f) < 0)
		return -1;
	return core_check_thread(pid, pid, core, f);
}

static int check_creds(pid_t pid, pid_t tid, const CredsEntry *c, struct fault *f)
{
	if (!c)
		return bad(pid, tid, "no credentials: the image is of a tool too old", f);
	if (c->n_cap_inh > CAP_WORDS || c->n_cap_prm > CAP_WORDS || c->n_cap_eff > CAP_WORDS ||
	    c->n_cap_bnd > CAP_WORDS || c->n_cap_amb > CAP_WORDS)
		return bad(pid, tid, "a capability set has more than 64 bits", f);
	if (c->n_groups > GROUPS_MAX)
		return bad(pid, tid, "more than 65536 groups", f);
	return 0;
}

static int check_registers(pid_t pid, pid_t tid, const CoreEntry *core, struct fault *f)
{
	char who[48];
	size_t i;

	if (core->mtype != CORE_ENTRY__MARCH__X86_64 || !core->thread_info)
		return bad(pid, tid, "the registers are not those of an x86-64 thread", f);
	snprintf(who, sizeof(who), "core-%d.img (task %d)", tid, pid);
	if (registers_check(core->thread_info, who, f) < 0)
		return -1;
	for (i = 0; i < core->thread_info->n_tls; i++)
		if (core->thread_info->tls[i]->usable &&
		    !core->thread_info->tls[i]->seg_not_present)
			return bad(pid, tid, "thread local storage in the GDT (set_thread_area) "
				   "cannot be restored", f);
	return 0;
}

int core_check_thread(pid_t pid, pid_t tid, const CoreEntry *core, struct fault *f)
{
	const ThreadCoreEntry *t = core->thread_core;

	if (!t)
		return bad(pid, tid, "the part on the thread is missing", f);
	if (tid == pid && core->tc && core->tc->task_state == IMAGE_TASK_LEADERLESS) {
		if (core->thread_info)
			return bad(pid, tid, "the thread is dead but has registers", f);
	} else if (check_registers(pid, tid, core, f) < 0) {
		return -1;
	}
	if (sched_check(t))
		return bad(pid, tid, sched_check(t), f);
	if (check_creds(pid, tid, t->creds, f) < 0 || check_queue(pid, tid, t->signals_p, f) < 0)
		return -1;
	if (t->comm && strlen(t->comm) >= COMM_SIZE)
		return bad(pid, tid, "the thread's name is too long", f);
	if ((t->store_bypass | t->indirect_branch) &
	    ~(uint32_t)(PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE))
		return bad(pid, tid, "a speculation control is none that is restored", f);
	if (t->has_pdeath_sig && t->pdeath_sig > SIGNALS)
		return bad(pid, tid, "pdeath_sig is out of range", f);
	if (core->tc && core->tc->has_old_seccomp_mode &&
	    core->tc->old_seccomp_mode != SECCOMP_MODE__disabled)
		return bad(pid, tid, "its seccomp mode is noted in the way of old images, which is "
			   "not restored", f);
	return 0;
}
