/* SPDX-License-Identifier: MIT */
/*
 * procfs_test.c - texts of /proc come out as the numbers they mean; damaged ones are refused.
 *
 * Links workers/common/procfs.c.
 */
#include "workers/common/procfs.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"

static const char stat_text[] =
	"4242 (a) b (c) T 1 4242 4240 34816 4242 4194560 112 0 0 0 3 4 50 60 20 0 1 0 270312 "
	"8916992 900 18446744073709551615 1 2 3 4 5 0 0 0 65538 0 0 0 17 1 0 0 0 0 0 6 7 8 9 10 "
	"11 12 256\n";

static void test_stat(void)
{
	static const char *const bad[] = {
		"", "4242", "4242 (a", "4242 (a) S 1", "x (a) S 1 2 3 4 5 6\n",
		"4242 (a) S 1 2 3 4 5 6 7 8\n",
		/* no exit code */
		"4242 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20\n",
	};
	struct proc_stat s;
	size_t i;

	CHECK(parse_stat(stat_text, &s) == 0);
	CHECK(s.pid == 4242 && s.state == 'T');
	CHECK(strcmp(s.comm, "a) b (c") == 0);
	CHECK(s.ppid == 1 && s.pgid == 4242 && s.sid == 4240);
	CHECK(s.flags == 4194560 && s.exit_code == 256);
	CHECK(s.cpu == 7 && s.started == 270312);
	for (i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(parse_stat(bad[i], &s) < 0);
}

static const char status_text[] =
	"Name:\ttwo\\nlines\\\\\n"
	"Umask:\t0027\nState:\tS (sleeping)\nTgid:\t77\nNgid:\t0\nPid:\t78\nPPid:\t5\n"
	"TracerPid:\t9\n"
	"Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t4294967295\nFDSize:\t64\nGroups:\t10 4294967294 30 \n"
	"NStgid:\t77\nThreads:\t2\nSigQ:\t1/96365\nSigPnd:\t8000000000000000\n"
	"ShdPnd:\t0000000000000200\nSigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000001000\n"
	"SigCgt:\t0000000000000002\nCapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\n"
	"CapEff:\t0000000000000002\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000004\n"
	"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n"
	"Speculation_Store_Bypass:\tthread force mitigated\n"
	"SpeculationIndirectBranch:\tconditional disabled\n";

static void test_status(void)
{
	struct proc_status s;

	CHECK(parse_status(status_text, &s) == 0);
	CHECK(strcmp(s.name, "two\nlines\\") == 0);
	CHECK(s.umask == 027 && s.tgid == 77 && s.ppid == 5 && s.tracer == 9);
	CHECK(s.uid[0] == 1 && s.uid[3] == 4 && s.gid[3] == 4294967295u);
	CHECK(s.ngroups == 3 && s.groups[1] == 4294967294u && s.groups[2] == 30);
	CHECK(s.sig_pending == 1ull << 63 && s.shared_pending == 0x200);
	CHECK(s.sig_blocked == 0xfffffffe7ffbfeffull);
	CHECK(s.cap_inh == 1 && s.cap_prm == 0x1ffffffffffull && s.cap_eff == 2 && s.cap_amb == 4);
	CHECK(s.no_new_privs == 1 && s.seccomp == 2);
	CHECK(s.store_bypass == PR_SPEC_FORCE_DISABLE && s.indirect_branch == PR_SPEC_DISABLE);
	proc_status_free(&s);
}

/* Without groups; a zombie's has no umask. */
static void test_status_forms(void)
{
	AUTO_FREE char *text = xstrdup(status_text);
	struct proc_status s;
	char *p;

	p = strstr(text, "Umask:");
	memcpy(p, "Xmask:", 6);
	memcpy(strstr(text, "thread force"), "not vulnerab", 12);
	p = strstr(text, "10 4294967294 30 ");
	memcpy(p, "                 ", 17);
	CHECK(parse_status(text, &s) == 0);
	CHECK(s.ngroups == 0 && s.umask == 0 && s.store_bypass == 0);
	proc_status_free(&s);
	memcpy(strstr(text, "Uid:\t1"), "Uid:\tx", 6);
	CHECK(parse_status(text, &s) < 0);
	CHECK(parse_status("", &s) < 0);
	CHECK(parse_status("Name:\tx\n", &s) < 0);
}

static const char limits_text[] =
	"Limit                     Soft Limit           Hard Limit           Units     \n"
	"Max cpu time              unlimited            10                   seconds   \n"
	"Max file size             unlimited            unlimited            bytes     \n"
	"Max data size             unlimited            unlimited            bytes     \n"
	"Max stack size            8388608              unlimited            bytes     \n"
	"Max core file size        0                    unlimited            bytes     \n"
	"Max resident set          unlimited            unlimited            bytes     \n"
	"Max processes             96365                96366                processes \n"
	"Max open files            20000                20001                files     \n"
	"Max locked memory         8388608              8388608              bytes     \n"
	"Max address space         unlimited            unlimited            bytes     \n"
	"Max file locks            unlimited            unlimited            locks     \n"
	"Max pending signals       96365                96365                signals   \n"
	"Max msgqueue size         819200               819200               bytes     \n"
	"Max nice priority         0                    0                    \n"
	"Max realtime priority     0                    99                   \n"
	"Max realtime timeout      unlimited            18446744073709551614 us        \n";

static void test_limits(void)
{
	struct rlimit64 l[PROC_RLIMITS];

	CHECK(parse_limits(limits_text, l) == 0);
	CHECK(l[RLIMIT_CPU].rlim_cur == RLIM64_INFINITY && l[RLIMIT_CPU].rlim_max == 10);
	CHECK(l[RLIMIT_STACK].rlim_cur == 8388608 && l[RLIMIT_STACK].rlim_max == RLIM64_INFINITY);
	CHECK(l[RLIMIT_NOFILE].rlim_cur == 20000 && l[RLIMIT_NOFILE].rlim_max == 20001);
	CHECK(l[RLIMIT_RTPRIO].rlim_max == 99);
	CHECK(l[RLIMIT_RTTIME].rlim_max == 18446744073709551614ull);
	CHECK(parse_limits("", l) < 0);
	CHECK(parse_limits("Max cpu time   soon   10\n", l) < 0);
}

static const char timers_text[] =
	"ID: 0\nsignal: 10/0000000000001234\nnotify: signal/pid.77\nClockID: 1\n"
	"ID: 7\nsignal: 34/ffffffffffffffff\nnotify: signal/tid.78\nClockID: 0\n"
	"ID: 8\nsignal: 0/0000000000000000\nnotify: none/pid.77\nClockID: -6\n";

static void test_timers(void)
{
	AUTO_FREE struct proc_timer *t = NULL;
	struct proc_timer *none;
	size_t n;

	CHECK(parse_timers(timers_text, &t, &n) == 0 && n == 3);
	CHECK(t[0].id == 0 && t[0].signo == 10 && t[0].value == 0x1234 && t[0].clock == 1);
	CHECK(t[0].notify == SIGEV_SIGNAL && t[0].notify_tid == 0);
	CHECK(t[1].id == 7 && t[1].value == UINT64_MAX);
	CHECK(t[1].notify == SIGEV_THREAD_ID && t[1].notify_tid == 78);
	CHECK(t[2].notify == SIGEV_NONE && t[2].clock == -6);
	CHECK(parse_timers("", &none, &n) == 0 && n == 0);
	free(none);
	CHECK(parse_timers("ID: 1\nsignal: 10/0\n", &none, &n) < 0);
	CHECK(parse_timers("ID: 1\nsignal: 10/0\nnotify: magic/pid.1\nClockID: 0\n", &none,
			   &n) < 0);
}

/* Against the running kernel: our own files are understood. */
static void test_self(void)
{
	AUTO_FREE pid_t *ids = NULL;
	struct rlimit64 limits[PROC_RLIMITS];
	struct proc_status status;
	struct fault f = { 0 };
	struct proc_stat st;
	uint64_t ns[PROC_NAMESPACES];
	long long score;
	size_t n;

	CHECK(procfs_stat(getpid(), 0, &st, &f) == 0 && st.ppid == getppid());
	CHECK(procfs_status(getpid(), getpid(), &status, &f) == 0 && status.uid[0] == getuid());
	proc_status_free(&status);
	CHECK(procfs_limits(getpid(), limits, &f) == 0);
	CHECK(procfs_threads(getpid(), &ids, &n, &f) == 0 && n == 1 && ids[0] == getpid());
	CHECK(procfs_number(getpid(), "oom_score_adj", 10, &score, &f) == 0);
	CHECK(procfs_namespaces(getpid(), ns, &f) == 0 && ns[0]);
	CHECK(f.code == 0);
	CHECK(procfs_stat(-1, 0, &st, &f) < 0 && f.code);
}

int main(void)
{
	check_run("stat: a name may hold parentheses, the exit code is field 52", test_stat);
	check_run("status: ids, groups, signal and capability sets", test_status);
	check_run("status: no groups, no umask; damage is refused", test_status_forms);
	check_run("limits: numbers and unlimited", test_limits);
	check_run("timers: every kind of notification", test_timers);
	check_run("the running kernel's own files are understood", test_self);
	return check_done();
}
