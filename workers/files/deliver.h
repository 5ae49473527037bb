/* SPDX-License-Identifier: MIT */
/*
 * deliver.h - bring descriptors of this worker into tasks.
 */
#ifndef STASIS_FILES_DELIVER_H
#define STASIS_FILES_DELIVER_H

#include "workers/files/prepare.h"

struct batch;

struct placement {
	int fd;			/* here */
	int at;			/* there */
	int flags;		/* 0 or O_CLOEXEC */
};

/* What one task gets. */
struct delivery {
	struct task_files *task;
	struct placement *p;
	size_t n;
	uint32_t spare;		/* numbers from here on are free and neither used nor kept */
	bool exact;		/* close whatever else the table holds below spare */
	bool dirs;		/* enter cwd, set the umask; root: -1 to keep the task's */
	int cwd, root;

	struct batch *batch;	/* private to deliver.c */
	int last;
	bool done;
};

/* Serve all tasks at once; no two of them share a table. */
int deliver(struct files *fs, struct delivery *d, size_t n, struct fault *f);

#endif
