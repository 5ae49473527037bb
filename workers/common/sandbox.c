/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - drop capabilities (libcap) and install the workers' seccomp filter.
 *
 * The filter is a list of what is denied (EPERM): programs, tracing, modules, clocks, keys,
 * reboot. A list of what is allowed would have to follow every libc release.
 *
 * Rights:   gives them up.
 * Holds:    nothing.
 */
#include "workers/common/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "proto/control/util.h"

static const int denied[] = {
	SYS_execve,
	SYS_execveat,
	SYS_ptrace, /* HOSTED: one that hosts code of others may */
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_kexec_file_load,
	SYS_reboot,
	SYS_swapon,
	SYS_swapoff,
	SYS_perf_event_open,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_acct,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_adjtimex,
	SYS_iopl,
	SYS_ioperm,
	SYS_quotactl,
	SYS_pivot_root,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_syslog,
};

#define HOSTED 3
#define NDENIED ARRAY_LEN(denied)

/* [load arch][must be x86-64][load nr][one compare per denied call][allow][deny] */
static int install_filter(bool hosts, struct fault *f)
{
	const size_t first = hosts ? HOSTED : 0;
	struct sock_filter code[NDENIED + 5];
	struct sock_fprog prog = { ARRAY_LEN(code) - first, code };
	size_t i, n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0,
						 NDENIED - first + 2);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (i = first; i < NDENIED; i++)
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied[i],
							 NDENIED - i, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fault(f, errno, "prctl(PR_SET_NO_NEW_PRIVS)");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return fault(f, errno, "install the worker's seccomp filter");
	return 0;
}

static int keep_caps(const cap_value_t *caps, size_t ncaps, struct fault *f)
{
	cap_t have = cap_get_proc(), keep = cap_init();
	cap_flag_value_t set;
	size_t i;
	int r;

	if (!have || !keep)
		die("out of memory (capability sets)");
	for (i = 0; i < ncaps; i++) {
		if (cap_get_flag(have, caps[i], CAP_PERMITTED, &set) < 0 || set != CAP_SET)
			continue;
		cap_set_flag(keep, CAP_PERMITTED, 1, &caps[i], CAP_SET);
		cap_set_flag(keep, CAP_EFFECTIVE, 1, &caps[i], CAP_SET);
	}
	r = cap_set_proc(keep);
	cap_free(have);
	cap_free(keep);
	return r < 0 ? fault(f, errno, "give up capabilities") : 0;
}

int sandbox_enter(const cap_value_t *caps, size_t ncaps, bool hosts, struct fault *f)
{
	if (keep_caps(caps, ncaps, f) < 0)
		return -1;
	return install_filter(hosts, f);
}
