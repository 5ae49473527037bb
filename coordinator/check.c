/* SPDX-License-Identifier: MIT */
/*
 * check.c - probe the kernel features and rights that a dump and a restore stand on.
 *
 * A feature's name is CRIU's where CRIU has one. A name that is not in the table is a
 * feature Stasis does not have, which for the caller is the same as one the kernel lacks.
 *
 * Rights:   none needed; what is missing is the finding.
 * Holds:    nothing.
 */
#include "coordinator/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "coordinator/seccomp.h"
#include "proto/control/util.h"
#include "workers/common/hugetlb.h"
#include "workers/common/pagemap_scan.h"
#include "workers/files/files.h"
#include "workers/gpu/gpu.h"
#include "workers/mem/mem.h"
#include "workers/net/net.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72			/* Linux 5.14 */
#endif
#define PTRACE_GET_RSEQ_CONFIGURATION_NR 0x420f

static bool have_cap(cap_value_t cap)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t set = CAP_CLEAR;

	if (caps)
		cap_get_flag(caps, cap, CAP_EFFECTIVE, &set);
	cap_free(caps);
	return set == CAP_SET;
}

static bool probe_ptrace(void)
{
	return have_cap(CAP_SYS_PTRACE);
}

static bool probe_restore_right(void)
{
	return have_cap(CAP_CHECKPOINT_RESTORE) || have_cap(CAP_SYS_ADMIN);
}

static bool probe_kcmp(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 0) >= 0 || errno == EBADF;
}

/* The question comes before its argument, which is not there. */
static bool probe_kcmp_epoll(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_EPOLL_TFD, 0, 0) < 0 && errno == EFAULT;
}

static bool probe_timerfd(void)
{
	AUTO_CLOSE int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	return fd >= 0 && ioctl(fd, _IOW('T', 0, uint64_t), NULL) < 0 && errno == EFAULT;
}

static bool probe_pidfd_getfd(void)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	AUTO_CLOSE int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);

	return fd >= 0;
}

static bool probe_futex_waitv(void)
{
	return syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno != ENOSYS;
}

/* An empty range: a kernel without the ioctl says ENOTTY. */
static bool probe_pagemap_scan(void)
{
	AUTO_CLOSE int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct scan_arg arg = { .size = sizeof(arg), .return_mask = SCAN_PRESENT };

	return fd >= 0 && ioctl(fd, SCAN_IOCTL, &arg) >= 0;
}

/* An unknown category bit is refused. */
static bool probe_guard_pages(void)
{
	AUTO_CLOSE int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct scan_arg arg = { .size = sizeof(arg), .return_mask = SCAN_GUARD };

	return fd >= 0 && ioctl(fd, SCAN_IOCTL, &arg) >= 0;
}

static bool probe_uffd(void)
{
	AUTO_CLOSE int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };

	return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0;
}

static bool probe_memfd_hugetlb(void)
{
	AUTO_CLOSE int fd = memfd_create("stasis", MFD_CLOEXEC | MFD_HUGETLB);

	return fd >= 0;
}

static bool probe_map_files(void)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)p + 4096);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	munmap(p, 4096);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* EEXIST for our own pid proves that set_tid is looked at. */
static bool probe_set_tid(void)
{
	pid_t self = getpid();
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&self,
				   .set_tid_size = 1 };

	return syscall(SYS_clone3, &args, sizeof(args)) < 0 && errno == EEXIST;
}

static bool probe_set_mm(void)
{
	unsigned size = 0;

	return prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0 && size > 0;
}

/* A filter that allows everything. */
static void filter_self(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog prog = { 1, &allow };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Only a tracee can be asked: a child that waits for us. */
static bool ask_tracee(bool (*ask)(pid_t tracee))
{
	pid_t pid = fork();
	bool ok;
	int st;

	if (pid == 0) {
		filter_self();
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &st, WUNTRACED) != pid)
		return false;
	ok = ask(pid);
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	return ok;
}

static bool ask_rseq_conf(pid_t tracee)
{
	uint8_t conf[32];

	return ptrace(PTRACE_GET_RSEQ_CONFIGURATION_NR, tracee, sizeof(conf), conf) >= 0;
}

static bool probe_rseq_conf(void)
{
	return ask_tracee(ask_rseq_conf);
}

static bool ask_filters(pid_t tracee)
{
	return ptrace(PTRACE_SECCOMP_GET_FILTER, tracee, 0, NULL) == 1;
}

static bool probe_seccomp_filters(void)
{
	return ask_tracee(ask_filters);
}

static bool probe_timens(void)
{
	return access("/proc/self/timens_offsets", F_OK) == 0;
}

static bool probe_timer_ids(void)
{
	if (prctl(77 /* PR_TIMER_CREATE_RESTORE_IDS, 6.15 */, 1, 0, 0, 0) < 0)
		return false;
	prctl(77, 0, 0, 0, 0);
	return true;
}

/* A context of asynchronous I/O whose ring was moved is known by its new address. */
static bool probe_aio_remap(void)
{
	unsigned long ctx = 0;
	void *room, *moved;
	bool ok;

	if (syscall(SYS_io_setup, 1, &ctx) < 0)
		return false;
	room = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mremap((void *)ctx, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ok = moved == room && syscall(SYS_io_getevents, moved, 0, 1, NULL, NULL) == 0;
	syscall(SYS_io_destroy, moved == room ? moved : (void *)ctx);
	return ok;
}

static bool probe_loginuid(void)
{
	return access("/proc/self/loginuid", F_OK) == 0;
}

static bool probe_fdinfo_lock(void)
{
	AUTO_FCLOSE FILE *tmp = tmpfile();
	AUTO_FCLOSE FILE *info = NULL;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[40], line[256];

	if (!tmp || fcntl(fileno(tmp), F_SETLK, &lock) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fileno(tmp));
	info = fopen(path, "re");
	while (info && fgets(line, sizeof(line), info))
		if (!strncmp(line, "lock:", 5))
			return true;
	return false;
}

/* Also of connections half closed (4.9), and with their windows (4.8). */
static bool probe_tcp_repair(void)
{
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tcp_repair_window w;
	socklen_t len = sizeof(w);
	int on = TCP_REPAIR_ON;

	return fd >= 0 && !setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) &&
	       !getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len);
}

/* Ask nf_tables for its generation. */
static bool probe_nftables(void)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct {
		struct nlmsghdr h;
		struct nfgenmsg g;
	} req = { .h = { .nlmsg_len = sizeof(req), .nlmsg_flags = NLM_F_REQUEST,
			 .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN } };
	struct {
		struct nlmsghdr h;
		char rest[256];
	} answer;

	return fd >= 0 && send(fd, &req, sizeof(req), 0) == sizeof(req) &&
	       recv(fd, &answer, sizeof(answer), 0) > (ssize_t)sizeof(answer.h) &&
	       answer.h.nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN);
}

static bool probe_ipv6_freebind(void)
{
	AUTO_CLOSE int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	return fd >= 0 && !setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, &on, sizeof(on));
}

/* CRIU's name for: programs that speak to the packet filter of before nf_tables are installed. */
static bool probe_ipt_legacy(void)
{
	return access("/usr/sbin/iptables-legacy", X_OK) == 0 &&
	       access("/usr/sbin/ip6tables-legacy", X_OK) == 0;
}

static bool probe_buf_lock(void)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int locks;
	socklen_t len = sizeof(locks);

	return fd >= 0 && !getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locks, &len);
}

/* CRIU asks sock_diag of raw sockets; the net worker reads these. */
static bool probe_raw_sockets(void)
{
	return access("/proc/net/raw", R_OK) == 0 && access("/proc/net/raw6", R_OK) == 0;
}

struct feature {
	const char *name;
	bool (*probe)(void);
	bool needed;
	const char *remedy;	/* when a needed one is missing */
};

static const struct feature features[] = {
	{ "ptrace", probe_ptrace, true, "run as root or with CAP_SYS_PTRACE" },
	{ "checkpoint_restore", probe_restore_right, true,
	  "run as root or with CAP_CHECKPOINT_RESTORE" },
	{ "kcmp", probe_kcmp, true, "a kernel with CONFIG_KCMP is needed" },
	{ "pidfd_getfd", probe_pidfd_getfd, true, "Linux 5.6 or newer is needed" },
	{ "clone3_set_tid", probe_set_tid, true,
	  "Linux 5.5 or newer and CAP_CHECKPOINT_RESTORE are needed" },
	{ "ns_pid", probe_set_tid, false, NULL },
	{ "futex_waitv", probe_futex_waitv, true, "Linux 5.16 or newer is needed" },
	{ "map_files", probe_map_files, true, "CAP_CHECKPOINT_RESTORE is needed" },
	{ "set_mm", probe_set_mm, true, "a kernel with CONFIG_CHECKPOINT_RESTORE is needed" },
	{ "pagemap_scan", probe_pagemap_scan, true, "Linux 6.7 or newer is needed" },
	{ "get_rseq_conf", probe_rseq_conf, true,
	  "Linux 5.13 or newer with CONFIG_RSEQ is needed" },
	{ "fdinfo_lock", probe_fdinfo_lock, false, NULL },
	{ "uffd", probe_uffd, false, NULL },
	{ "pagemap_scan_guard_pages", probe_guard_pages, false, NULL },
	{ "timer_cr_ids", probe_timer_ids, false, NULL },
	{ "timerfd", probe_timerfd, false, NULL },
	{ "memfd_hugetlb", probe_memfd_hugetlb, false, NULL },
	{ "kcmp_epoll", probe_kcmp_epoll, false, NULL },
	{ "tcp_half_closed", probe_tcp_repair, false, NULL },
	{ "ipv6_freebind", probe_ipv6_freebind, false, NULL },
	{ "sockopt_buf_lock", probe_buf_lock, false, NULL },
	{ "net_diag_raw", probe_raw_sockets, false, NULL },
	{ "has_ipt_legacy", probe_ipt_legacy, false, NULL },
	{ "network_lock_nftables", probe_nftables, false, NULL },
	{ "aio_remap", probe_aio_remap, false, NULL },
	{ "loginuid", probe_loginuid, false, NULL },
	{ "seccomp_suspend", seccomp_can_suspend, false, NULL },
	{ "seccomp_filters", probe_seccomp_filters, false, NULL },
	{ "timens", probe_timens, false, NULL },
};

static int check_named(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(features); i++)
		if (!strcmp(name, features[i].name)) {
			bool ok = features[i].probe();

			if (!ok)
				fprintf(stderr, "stasis check: %s: this kernel or these rights do "
					"not have it\n", name);
			return ok ? 0 : 1;
		}
	fprintf(stderr, "stasis check: %s: this version of Stasis does not have it\n", name);
	return 1;
}

static void print_caps(const struct worker *w)
{
	size_t i;

	printf("%-12s", w->name);
	for (i = 0; i < w->ncaps; i++) {
		char *name = cap_to_name(w->caps[i]);

		printf(" %s", name);
		cap_free(name);
	}
	putchar('\n');
}

static int check_all(void)
{
	int missing = 0;
	size_t i;

	for (i = 0; i < ARRAY_LEN(features); i++) {
		bool ok = features[i].probe();

		printf("%-26s %s%s%s\n", features[i].name, ok ? "yes" : "no",
		       !ok && features[i].needed ? "   needed: " : "",
		       !ok && features[i].needed ? features[i].remedy : "");
		missing += !ok && features[i].needed;
	}
	puts(missing ? "Something that is needed is missing." : "Looks good.");
	return missing ? 1 : 0;
}

int check(const struct cmdline *c)
{
	int r = 0;
	size_t i;

	if (c->check_caps) {
		printf("%-12s cap_sys_ptrace cap_checkpoint_restore, and what the tasks' own "
		       "credentials need\n", "coordinator");
		print_caps(&mem_worker);
		print_caps(&files_worker);
		print_caps(&net_worker);
		print_caps(&gpu_worker);
		return 0;
	}
	for (i = 0; i < c->nfeatures; i++)
		r |= check_named(c->features[i]);
	return c->nfeatures ? r : check_all();
}
