/* SPDX-License-Identifier: MIT */
/*
 * job.h - one operation (dump or restore): its options, its tasks, its workers.
 */
#ifndef STASIS_JOB_H
#define STASIS_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>
#include <time.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "proto/images/task.pb-c.h"
#include "workers/common/gate_client.h"

struct crew;			/* the workers: crew.h */
struct trace;			/* --trace: trace.h */
struct devices;			/* devices.c */

struct thread {
	pid_t tid;		/* as seen here */
	pid_t vtid;		/* in its own pid namespace */
	bool seized;
	CoreEntry *core;	/* restore: as read; dump: being filled */
	void *regs;		/* private to dump (frozen registers) or restore */
};

/* As inventory.img tells it. */
enum network_lock { NETWORK_LOCK_IPTABLES, NETWORK_LOCK_NFTABLES, NETWORK_LOCK_SKIP };

enum task_state { TASK_RUNNING, TASK_STOPPED, TASK_ZOMBIE };

struct task {
	pid_t pid;		/* what ptrace and /proc know it by: its leader, where that lives */
	pid_t tgid, vpid;		/* its number; the same in its own pid namespace */
	pid_t ppid, pgid, sid;		/* as in its own pid namespace */
	enum task_state state;
	int exit_status;		/* zombie: wait status */
	int stop_signal;
	struct thread *threads;		/* [0] is the leader; one for a zombie */
	/*
	 * The main thread has exited, others live. Dump: it is not among the threads, and [0]
	 * stands for the task. Restore: [0] is what will exit, at the end.
	 */
	bool leader_dead;
	CoreEntry *leader_core;		/* dump: what its image says of it */
	size_t nthreads, threads_cap;
	struct task *parent;
	struct task **children;
	size_t nchildren, children_cap;
	int pidfd;			/* -1 when not open */
	struct gate *gate;
	uint32_t vm_id, files_id, fs_id, sighand_id;	/* TaskKobjIdsEntry */
	uint32_t time_ns_id;		/* restore: of its images; 0: that of the dumping tool */
	bool vm_shared, files_shared, fs_shared; /* an earlier task in job.tasks has the same id */
	struct seat *seat;	/* where the agent sits: inject.h; NULL when it is not there */
	void *priv;			/* private to dump or restore */
};

struct timing {			/* CLOCK_MONOTONIC, microseconds since the operation began */
	uint64_t freezing_us, frozen_us, forking_us, restore_us;
};

struct job {
	Options *opts;
	struct timespec start;
	int image_dir, work_dir;
	int *opt_fds;			/* what the options speak of (--inherit-fd, our terminal) */
	size_t nopt_fds;
	struct crew *crew;
	struct trace *trace;		/* NULL: not asked for */
	struct task **tasks;		/* parents before children, the root first */
	size_t ntasks, tasks_cap;
	struct timing timing;
	bool patient;			/* replay: workers have no deadlines */
	bool may_repeat; /* after EAGAIN, a state that passes by itself, there is another try */
	unsigned steps;			/* taken so far: step() */
	struct {			/* what the environment asks step() to do */
		bool read;
		unsigned kill_at, kill_worker_at;
		int kill_worker;	/* a role, -1: each in turn */
		const char *file;
	} step_orders;
	char run_id[37];		/* of the dump, a UUID: inventory.img; "" when not known */
	bool has_sockets;	/* of any kind; a restore: as the dump says, CRIU's say nothing */
	int network_lock;	/* what locked the network (enum network_lock); -1: nothing */
	struct gate_herald *herald;	/* dump: what net's guard listens to */
	bool raised;			/* our priority, by freeze_tree */
	struct cgroups *cgroups; /* restore: cgroup_restore.c; NULL when there is nothing to do */
	MemWritten *written;		/* dump: figures for stats-dump; NULL until then */
	bool uprobes;			/* dump: areas of uprobes were left out */
	struct devices *devices;	/* NULL: there were none so far */
	struct {			/* that a restore needs: inventory.img; owned */
		char **list;
		size_t n;
		bool known;		/* restore: the image tells */
	} plugins;
	struct {			/* restore: figures for stats-restore */
		uint64_t compared, skipped_cow, restored;
	} pages;
	void *priv;			/* private to dump or restore */
};

/* A row of a stage table. undo may be NULL. */
struct stage {
	const char *name;
	int (*run)(struct job *job, struct fault *f);
	void (*undo)(struct job *job);
};

/* Run stages in order; after a fault undo the finished ones, last first. */
int run_stages(const struct stage *s, size_t n, struct job *job, struct fault *f);

struct task *job_add_task(struct job *job, struct task *parent);
void task_add_thread(struct task *t, pid_t tid, pid_t vtid);
/* Pids of the tasks that are no zombies, in their order; freed by the caller. */
uint32_t *job_living(const struct job *job, size_t *n);
uint64_t job_elapsed_us(const struct job *job);

/*
 * Called after every step of a sequence (each stage, and each call inside a stage that
 * changes a task). Under STASIS_KILL_AT=N the coordinator kills itself with SIGKILL at the Nth
 * step, STASIS_KILL_WORKER_AT=N kills one worker; STASIS_STEPS_FILE receives the number of steps.
 * For the crash tests only.
 */
void step(struct job *job, const char *what);

/* The two operations, called by main with options parsed, directories open, workers started. */
int dump(struct job *job, struct fault *f);		/* dump.c */
int restore(struct job *job, struct fault *f);		/* restore.c */

#endif
