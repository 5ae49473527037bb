/* SPDX-License-Identifier: MIT */
/*
 * prepare.h - the images of a restore, read and checked; the tasks they belong to.
 */
#ifndef STASIS_FILES_PREPARE_H
#define STASIS_FILES_PREPARE_H

#include "proto/control/control.pb-c.h"
#include "proto/images/task.pb-c.h"
#include "workers/files/type.h"

/* A descriptor table. */
struct table {
	uint32_t id;			/* files_id */
	FdinfoEntry **entry;
	struct file **file;		/* what entry i refers to */
	size_t n, entry_cap, file_cap;
	uint32_t max_fd;		/* 0 when empty */
	bool installed;
};

struct task_files {
	pid_t pid;
	struct table *table;		/* may belong to several tasks */
	FsEntry *fs;
	bool fs_shared;			/* an earlier task sets working directory and so on */
	struct gate *gate;		/* NULL until Gates */
	uint32_t mapped_end;		/* first number above its mapped files */
	uint32_t allowed;		/* numbers below this fit its RLIMIT_NOFILE; 0: not known */
	bool later;			/* its table was filled for another task */
};

struct restore {
	struct file *file;		/* by id */
	size_t nfiles, files_cap;
	struct table **table;
	size_t ntables, tables_cap;
	struct task_files *task;	/* by pid */
	size_t ntasks;
	bool checked;			/* by prepare(), to the end */
	size_t early;			/* files below have been looked at by install_early */
	struct fault early_fault;
	int gate_memory;
	const FilesPrepare *req;	/* while images are checked */
	bool no_fetch;			/* tasks may not take descriptors from us: see deliver.c */
};

/* Read and check all images; fills fs->restore. */
int prepare(struct files *fs, const FilesPrepare *req, struct fault *f);
void prepare_end(struct files *fs);

/* Map the gates of new tasks. fd: of the gate memory, with the first ones; taken over. -1: none. */
int prepare_gates(struct files *fs, const Gates *req, int fd, struct fault *f);

/* The task with that pid, NULL when it has none of ours. */
struct task_files *prepare_task(struct files *fs, pid_t pid);

/* Do something to every created file of a type, until one fails. */
int files_each_created(struct files *fs, const struct file_type *type,
		       int (*act)(struct files *fs, const struct file *file, struct fault *f),
		       struct fault *f);

#endif
