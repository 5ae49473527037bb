/* SPDX-License-Identifier: MIT */
/*
 * births.h - who forks whom, so that every task gets its session and its process group back.
 *
 * A session is inherited or begun, never joined. So a task that was born before its parent called
 * setsid must be born so again, and one whose session leader is gone must be born of a helper: a
 * task that is not in the image, leads the session (or group), and ends once the tree stands.
 */
#ifndef STASIS_BIRTHS_H
#define STASIS_BIRTHS_H

#include "coordinator/job.h"

struct clocks;
struct inherited;

/* What the restore knows of a task; task.priv. */
struct birth {
	struct task *maker;		/* forks it: its parent or a helper; NULL: ourselves */
	struct task **made;
	size_t nmade, made_cap;
	bool helper;
	bool orphan;			/* becomes its parent's child when its maker ends */
	struct task *heir;	/* of a helper: who inherits its children; NULL: it has none */
	bool reaped;			/* a helper: it has a SIGCHLD of it */
	bool early;			/* forked before its maker calls setsid */
	bool founds;			/* a process group of its number is needed */
	pid_t born_sid;			/* the session it must be born in; 0: any */
	pid_t born_group, group;	/* process group: at birth, now */
	unsigned depth;			/* makers above it */

	/* fork_tree.c */
	bool exists;
	bool settled;			/* its maker's window is unmapped */
	struct gate_place place;

	/* From the workers' answers to Prepare, and mm-*.img. */
	bool fill_first;		/* build its memory before it forks */
	bool inherits;			/* fork it from a built maker */
	bool built;
	size_t nmapped;			/* descriptors for MemBuild */
	uint32_t *mapped_id, *mapped_flags;
	int dumpable;			/* -1: not known */
	bool told;			/* the workers know its gate */
	unsigned int max_fd;		/* the highest descriptor number it will have */
};

/* All of the restore; job.priv. */
struct births {
	struct task **all;		/* tasks and helpers, makers before those they make */
	size_t nall, all_cap;
	struct task **helpers;		/* owned */
	size_t nhelpers, helpers_cap;
	pid_t our_sid, our_pgid;
	struct inherited *ours;		/* what new tasks have from us; owned */
	struct clocks *clocks;		/* of the images (clocks.c); NULL: ours; owned */

	/* fork_tree.c */
	int memory;			/* descriptor of the gate memory */
	uint64_t memory_size;
	uint64_t slot[2], slot_size;
	AddressRange **gaps;		/* of the MemPrepared reply */
	size_t ngaps;
	Reply *prepared;		/* owned */
	bool sockets_asked;		/* NetPrepare was sent */
	Reply *sockets;			/* to NetPrepare; owned; NULL: there are none */
	bool told;			/* the workers have the descriptor */
	bool keep_mem, keep_files, keep_net;	/* they make host objects */
	int *keeper;			/* their keepers wait for a word; owned */
	size_t nkeepers;
	bool telling;			/* their answers to Gates are outstanding */
	bool memory_files_made;		/* or there are none */
	bool creating;			/* files has been asked to create its objects */
};

static inline struct birth *birth_of(const struct task *t)
{
	return t->priv;
}

static inline struct births *births_of(const struct job *job)
{
	return job->priv;
}

/*
 * Decide. With --shell-job the session and group of the root that lie outside of the tree become
 * ours. -1 with f set when no order of forks gives this tree.
 */
int births_plan(struct job *job, struct fault *f);
void births_free(struct job *job);

/* Dump: the same for tasks that are still there, so that what cannot be restored is not dumped. */
int births_check(const struct job *job, struct fault *f);

#endif
