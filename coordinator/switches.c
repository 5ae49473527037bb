/* SPDX-License-Identifier: MIT */
/*
 * switches.c - what a process has switched on or off by prctl(2) and in /proc, both directions.
 *
 * CRIU's images have none of these. Timestamp counter, CPUID, machine checks and I/O flusher belong
 * to threads, which have them from the one that made them: the leader's are taken for all.
 *
 * Rights:   CAP_SYS_RESOURCE for an I/O flusher, CAP_SYS_NICE for an autogroup's nice value below
 *           0.
 * Holds:    nothing.
 */
#include "coordinator/switches.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "proto/control/util.h"

#define GET_CPUID 0x1011		/* of arch_prctl */
#define SET_CPUID 0x1012
#define FILTER_BITS 0x1ffu		/* of coredump_filter */

/* ---- dump ---- */

int switches_ask(struct batch *b, struct switches_asked *asked)
{
	void *local;

	asked->tsc = batch_alloc(b, sizeof(uint32_t), &local);
	if (!local)
		return -1;
	asked->mce_kill = batch_op(b, 0, 0, SYS_prctl, 5, gc(PR_MCE_KILL_GET), gc(0), gc(0), gc(0),
				   gc(0));
	asked->io_flusher = batch_op(b, 0, 0, SYS_prctl, 5, gc(PR_GET_IO_FLUSHER), gc(0), gc(0),
				     gc(0), gc(0));
	asked->no_tsc = batch_op(b, 0, 0, SYS_prctl, 2, gc(PR_GET_TSC), ga(asked->tsc));
	asked->no_cpuid = batch_op(b, 0, 0, SYS_arch_prctl, 2, gc(GET_CPUID), gc(0));
	return asked->no_cpuid;
}

/* A question that this kernel does not know or does not answer: the usual. */
void switches_take(struct batch *b, const struct switches_asked *asked, TaskCoreEntry *tc)
{
	int64_t mce = batch_result(b, 0, asked->mce_kill);
	const uint32_t *tsc = batch_local(b, asked->tsc);

	tc->has_mce_kill = mce == PR_MCE_KILL_EARLY || mce == PR_MCE_KILL_LATE;
	tc->mce_kill = mce;
	tc->has_io_flusher = tc->io_flusher = batch_result(b, 0, asked->io_flusher) == 1;
	tc->has_no_tsc = tc->no_tsc = batch_result(b, 0, asked->no_tsc) == 0 &&
				      *tsc == PR_TSC_SIGSEGV;
	tc->has_no_cpuid = tc->no_cpuid = batch_result(b, 0, asked->no_cpuid) == 0;
}

/* "/autogroup-NUMBER nice VALUE"; absent without CONFIG_SCHED_AUTOGROUP. */
static void look_at_autogroup(pid_t pid, TaskCoreEntry *tc)
{
	struct fault none = { 0 };
	AUTO_FREE char *text = procfs_read(pid, 0, "autogroup", NULL, &none);

	if (!text || sscanf(text, "/autogroup-%*d nice %d", &tc->autogroup_nice) != 1)
		return;
	tc->has_autogroup_nice = tc->autogroup_nice != 0;
}

int switches_look(pid_t pid, bool leads_session, TaskCoreEntry *tc, struct fault *f)
{
	long long filter;

	if (procfs_number(pid, "coredump_filter", 16, &filter, f) < 0)
		return -1;
	tc->has_coredump_filter = filter != COREDUMP_FILTER_USUAL;
	tc->coredump_filter = filter;
	if (leads_session)
		look_at_autogroup(pid, tc);
	return 0;
}

/* ---- restore ---- */

const char *switches_check(const TaskCoreEntry *tc)
{
	if (tc->has_autogroup_nice && (tc->autogroup_nice < -20 || tc->autogroup_nice > 19))
		return "autogroup_nice is out of range";
	if (tc->has_coredump_filter && (tc->coredump_filter & ~FILTER_BITS))
		return "coredump_filter has unknown bits";
	if (tc->has_mce_kill && tc->mce_kill > PR_MCE_KILL_EARLY)
		return "mce_kill is out of range";
	return NULL;
}

static int set_number(const struct task *t, const char *name, int64_t value, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/%s", t->pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && dprintf(fd, "%lld", (long long)value) > 0)
		return 0;
	return fault(f, errno, "write %s", path);
}

int switches_set_outside(const struct inherited *ours, const struct task *t, struct fault *f)
{
	const TaskCoreEntry *tc = t->threads[0].core->tc;
	uint32_t filter = tc->has_coredump_filter ? tc->coredump_filter : COREDUMP_FILTER_USUAL;

	if (filter != ours->coredump_filter && set_number(t, "coredump_filter", filter, f) < 0)
		return -1;
	if (!tc->has_autogroup_nice || access("/proc/self/autogroup", F_OK) < 0)
		return 0;
	return set_number(t, "autogroup", tc->autogroup_nice, f);
}

int switches_set_early(struct ops *o, const TaskCoreEntry *tc, struct fault *f)
{
	if (ops_reserve(o, 4, 0, f) < 0)
		return -1;
	if (tc->has_mce_kill)
		ops_add(o, 0, "set when machine checks kill it", SYS_prctl, 5, gc(PR_MCE_KILL),
			gc(PR_MCE_KILL_SET), gc(tc->mce_kill), gc(0), gc(0));
	if (tc->has_io_flusher && tc->io_flusher)
		ops_add(o, 0, "be an I/O flusher (CAP_SYS_RESOURCE)", SYS_prctl, 5,
			gc(PR_SET_IO_FLUSHER), gc(1), gc(0), gc(0), gc(0));
	if (tc->has_no_tsc && tc->no_tsc)
		ops_add(o, 0, "give up the timestamp counter", SYS_prctl, 2, gc(PR_SET_TSC),
			gc(PR_TSC_SIGSEGV));
	if (tc->has_no_cpuid && tc->no_cpuid)
		ops_add(o, 0, "give up CPUID (a processor with CPUID faulting is needed)",
			SYS_arch_prctl, 2, gc(SET_CPUID), gc(0));
	return 0;
}
