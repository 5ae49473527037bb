/* SPDX-License-Identifier: MIT */
/*
 * late.c - files that can be made only when all threads exist: pidfds of threads, files of /proc of
 * threads.
 *
 * Tables are filled long before, so something else keeps the numbers until then. By then the tasks
 * have their credentials and may no longer take descriptors from us: each table's task opens the
 * file itself, and tables that shared it have one each.
 *
 * Rights:   ptrace access to the tasks.
 * Holds:    nothing.
 */
#include "workers/files/late.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"
#include "workers/common/gate_client.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

#define GATE_TIMEOUT_MS 10000

enum created late_keep(struct file *file, struct fault *f)
{
	file->fd = eventfd(0, EFD_CLOEXEC);
	if (file->fd < 0)
		return fault(f, errno, "keep a number");
	file->late = true;
	return CREATED;
}

static int open_there(struct files *fs, struct gate *g, const struct file *file,
		      const FdinfoEntry *e, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	int64_t err;
	int fd, placed;

	fd = file->type->open_late(fs, file, b);
	placed = batch_op(b, 0, 0, SYS_dup3, 3, gr(fd), gc(e->fd),
			  gc(e->flags & FD_CLOEXEC ? O_CLOEXEC : 0));
	batch_op(b, 0, 0, SYS_close, 1, gr(fd));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	err = batch_result(b, 0, fd) < 0 ? batch_result(b, 0, fd) : batch_result(b, 0, placed);
	return err < 0 ? fault(f, -err, "descriptor %u (%s %u): have its task open it", e->fd,
			       file->type->name, file->id) : 0;
}

static struct task_files *task_of_table(struct files *fs, const struct table *t)
{
	struct restore *r = fs->restore;
	size_t k = 0;

	while (r->task[k].table != t)		/* a table is a task's */
		k++;
	return &r->task[k];
}

/* What the last table has is then ours too: its owner is named there. */
static int finish_one(struct files *fs, struct file *file, struct fault *f)
{
	size_t i;

	for (i = 0; i < file->nusers; i++) {
		const struct task_files *t = task_of_table(fs, file->users[i].table);

		if (open_there(fs, t->gate, file, file->users[i].entry, f) < 0)
			return -1;
		auto_close(&file->fd);
		file->fd = procfs_fetch(t->pid, file->users[i].entry->fd, f);
		if (file->fd < 0)
			return -1;
	}
	return 0;
}

int late_finish(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; r && i < r->nfiles; i++)
		if (r->file[i].late && finish_one(fs, &r->file[i], f) < 0)
			return -1;
	return 0;
}
