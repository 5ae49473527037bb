/* SPDX-License-Identifier: MIT */
/*
 * fs.c - working directory, root directory, umask: dump.
 *
 * The restore is part of filling a task: install.c.
 *
 * Rights:   ptrace access to the task.
 * Holds:    nothing between messages.
 */
#include "workers/files/fs.h"

#include "proto/control/util.h"
#include "proto/images/task.pb-c.h"
#include "workers/common/procfs.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/identity.h"
#include "workers/files/regular.h"

static int read_umask(pid_t pid, uint32_t *umask, struct fault *f)
{
	struct proc_status st;

	if (procfs_status(pid, 0, &st, f) < 0)
		return -1;
	*umask = st.umask;
	proc_status_free(&st);
	return 0;
}

static int collect_dir(struct files *fs, struct probe *p, enum facts_place place, uint32_t *id,
		       struct fault *f)
{
	if (probe_path(p, place, place == FACTS_CWD ? "cwd" : "root", f) < 0)
		return -1;
	if (identity_find_path(fs, &p->x) && regular_dump(fs, &p->x, f) < 0)
		return -1;
	*id = p->x.id;
	return 0;
}

int fs_collect(struct files *fs, const DumpTask *task, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	AUTO_PROBE struct probe p;
	FsEntry e = FS_ENTRY__INIT;

	if (probe_open(&p, task->pid, f) < 0 ||
	    collect_dir(fs, &p, FACTS_CWD, &e.cwd_id, f) < 0 ||
	    collect_dir(fs, &p, FACTS_ROOT, &e.root_id, f) < 0 ||
	    read_umask(task->pid, &e.umask, f) < 0)
		return -1;
	e.has_umask = true;
	img = image_create(files_image_dir(fs), IMG_FS, task->vpid, f);
	if (!img || image_write(img, &e.base, f) < 0)
		return -1;
	return image_close(&img, f);
}
