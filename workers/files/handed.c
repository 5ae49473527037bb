/* SPDX-License-Identifier: MIT */
/*
 * handed.c - files that another worker makes and hands over: named by process and number,
 * duplicated here.
 *
 * Rights:   ptrace access to the other workers (pidfd_getfd).
 * Holds:    nothing.
 */
#include "workers/files/handed.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

/* The descriptor comes with FilesTakeMade. */
enum created handed_create(struct files *fs, struct file *file, struct fault *f)
{
	(void)fs;
	(void)f;
	return file->fd >= 0 ? CREATED : CREATE_LATER;
}

int handed_take(struct files *fs, const MadeFiles *made, struct fault *f)
{
	AUTO_CLOSE int pidfd = syscall(SYS_pidfd_open, made->pid, 0);
	struct file *file;
	size_t i;

	if (pidfd < 0)
		return fault(f, errno, "open the worker that made files (%u)", made->pid);
	if (!fs->restore || made->n_id != made->n_fd)
		return fault(f, -EPROTO, "untimely or damaged list of made files");
	for (i = 0; i < made->n_id; i++) {
		file = files_find(fs, made->id[i]);
		if (!file || file->type->create != handed_create || file->fd >= 0)
			return fault(f, -EPROTO,
				     "file %u is none that another worker makes, or is there "
				     "already",
				     made->id[i]);
		if (!file->nusers)
			continue;
		if ((int)made->fd[i] < 0)
			return fault(f, -EBADMSG,
				     "files.img: %s %u is one outside the tree, but a task "
				     "has it",
				     file->type->name, file->id);
		file->fd = syscall(SYS_pidfd_getfd, pidfd, made->fd[i], 0);
		if (file->fd < 0)
			return fault(f, errno, "take %s %u from the worker that made it",
				     file->type->name, file->id);
	}
	return 0;
}
