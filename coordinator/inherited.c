/* SPDX-License-Identifier: MIT */
/*
 * inherited.c - look at our own credentials, limits, priority, ignored signals.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/inherited.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"

static uint64_t ignored_signals(void)
{
	uint64_t set = 0;
	int i;

	for (i = 1; i <= SIGNALS; i++) {
		uint64_t act[4] = { 0 };

		if (!syscall(SYS_rt_sigaction, i, NULL, act, 8) && act[0] == (uint64_t)SIG_IGN)
			set |= 1ull << (i - 1);
	}
	return set;
}

static int last_capability(void)
{
	int i = 0;

	while (i < 32 * CAP_WORDS - 1 && prctl(PR_CAPBSET_READ, i + 1, 0, 0, 0) >= 0)
		i++;
	return i;
}

static void read_priority(struct inherited *i)
{
	struct sched_param param = { 0 };

	i->nice = getpriority(PRIO_PROCESS, 0);
	i->policy = sched_getscheduler(0);
	sched_getparam(0, &param);
	i->priority = param.sched_priority;
	i->timer_slack_ns = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
}

struct inherited *inherited_read(struct fault *f)
{
	struct inherited *i = xcalloc(1, sizeof(*i));
	struct fault none = { 0 };
	long long value;
	int k;

	if (procfs_status(getpid(), 0, &i->status, f) < 0) {
		free(i);
		return NULL;
	}
	for (k = 0; k < LIMITS; k++)
		if (syscall(SYS_prlimit64, 0, k, NULL, &i->limits[k]) < 0)
			i->limits[k].rlim_cur = i->limits[k].rlim_max = 0;
	i->ignored = ignored_signals();
	i->securebits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	i->last_cap = last_capability();
	read_priority(i);
	procfs_number(getpid(), "oom_score_adj", 10, &i->oom_score_adj, &none);
	if (procfs_number(getpid(), "coredump_filter", 16, &i->coredump_filter, &none) < 0)
		i->coredump_filter = COREDUMP_FILTER_USUAL;
	i->has_loginuid = procfs_number(getpid(), "loginuid", 10, &value, &none) == 0;
	i->loginuid = value;
	return i;
}

void inherited_free(struct inherited *i)
{
	if (!i)
		return;
	proc_status_free(&i->status);
	free(i);
}
