/* SPDX-License-Identifier: MIT */
/*
 * procfs.h - what /proc says of a task or a thread.
 *
 * A tid of 0 means the task as a whole (/proc/PID/NAME), else /proc/PID/task/TID/NAME.
 * parse_* take a file's text (NUL-terminated) and are for procfs.c and its test.
 */
#ifndef STASIS_PROCFS_H
#define STASIS_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "proto/control/fault.h"

#define PROC_COMM 16		/* TASK_COMM_LEN, with its NUL */
#define PROC_RLIMITS 16		/* RLIM_NLIMITS */

/* /proc/PID/stat */
struct proc_stat {
	pid_t pid;
	char comm[PROC_COMM];
	char state;
	pid_t ppid, pgid, sid;
	uint32_t flags;		/* PF_* */
	uint64_t cpu;		/* time used so far, in clock ticks */
	uint64_t started;	/* clock ticks since boot: with pid, who it is */
	int32_t exit_code;	/* wait status of a zombie */
};

/* /proc/PID/status */
struct proc_status {
	char name[4 * PROC_COMM];	/* the kernel escapes some bytes: "\n", "\\" */
	pid_t tgid, ppid, tracer;
	uint32_t uid[4], gid[4];	/* real, effective, saved, file system */
	uint32_t *groups;		/* owned: proc_status_free */
	size_t ngroups;
	uint32_t umask;
	uint64_t sig_pending, shared_pending, sig_blocked;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint32_t no_new_privs;
	uint32_t seccomp;		/* SECCOMP_MODE_* */
	uint32_t store_bypass, indirect_branch;	/* PR_SPEC_*DISABLE asked for by prctl; 0: not */
};

/* One entry of /proc/PID/timers */
struct proc_timer {
	int32_t id;
	int32_t signo;
	uint64_t value;			/* sigev_value */
	int32_t notify;			/* SIGEV_* */
	pid_t notify_tid;		/* SIGEV_THREAD_ID: the thread, else 0 */
	int32_t clock;
};

/*
 * Read a file of a task whole, NUL-terminated; the caller frees. NULL with f set when it cannot be
 * read (f->code ESRCH or ENOENT: the task is gone). len may be NULL.
 */
char *procfs_read(pid_t pid, pid_t tid, const char *name, size_t *len, struct fault *f);

int procfs_stat(pid_t pid, pid_t tid, struct proc_stat *s, struct fault *f);
int procfs_status(pid_t pid, pid_t tid, struct proc_status *s, struct fault *f);
void proc_status_free(struct proc_status *s);
int procfs_limits(pid_t pid, struct rlimit64 limits[PROC_RLIMITS], struct fault *f);
/* *timers is the caller's to free. */
int procfs_timers(pid_t pid, struct proc_timer **timers, size_t *n, struct fault *f);
/* A file that holds one number; base as for strtoll. */
int procfs_number(pid_t pid, const char *name, int base, long long *value, struct fault *f);

/* Thread ids of a task, or children of all its threads: *ids is the caller's to free. */
int procfs_threads(pid_t pid, pid_t **ids, size_t *n, struct fault *f);
int procfs_children(pid_t pid, pid_t **ids, size_t *n, struct fault *f);

/*
 * Of a task whose main thread has exited while others live: one of those, by whose number /proc
 * shows the task's memory and files. Otherwise pid.
 */
pid_t procfs_living_thread(pid_t pid);

/* A pidfd of a task, also by the number of such a thread (Linux 6.9). -1 with errno set. */
int procfs_pidfd(pid_t pid);

/* A duplicate here of a descriptor of a task; needs ptrace access. -1 with f set. */
int procfs_fetch(pid_t pid, int fd, struct fault *f);

/*
 * The inode numbers of a task's namespaces, named by proc_namespace_names. 0 where this kernel
 * has none of the kind.
 */
#define PROC_NAMESPACES 10
extern const char *const proc_namespace_names[PROC_NAMESPACES];
int procfs_namespaces(pid_t pid, uint64_t inodes[PROC_NAMESPACES], struct fault *f);

int parse_stat(const char *text, struct proc_stat *s);
int parse_status(const char *text, struct proc_status *s);
int parse_limits(const char *text, struct rlimit64 limits[PROC_RLIMITS]);
int parse_timers(const char *text, struct proc_timer **timers, size_t *n);

#endif
