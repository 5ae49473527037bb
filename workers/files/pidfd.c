/* SPDX-License-Identifier: MIT */
/*
 * pidfd.c - descriptors of processes, pidfd_open(2), also of those that have ended.
 *
 * Dump:     the process must be one of the tree, or be gone.
 * Restore:  for a process that is gone another one is made that ends at once; entries with the same
 *           inode are descriptors of the same. That happens while the images are checked: later its
 *           number might be one that a thread is to have. One of a thread (PIDFD_THREAD, which CRIU
 *           does not restore) comes late.
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/files/anon.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"

#define OF_A_THREAD O_EXCL		/* PIDFD_THREAD */
#define GONE (-1)

static bool match(const struct facts *x)
{
	return anon_is(x, "[pidfd]") || (x->link && strncmp(x->link, "pidfd:", 6) == 0);
}

/* The number of a process or thread in its own namespace, when it is dumped. */
static bool is_dumped(const struct files *fs, pid_t pid, int32_t *nspid)
{
	const DumpTask *t = facts_task(fs, pid);

	if (!t)
		return false;
	if ((uint32_t)pid == t->pid)
		*nspid = t->vpid;
	return (uint32_t)pid == t->pid || t->vpid == t->pid;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = anon_info(x, f);
	PidfdEntry p = PIDFD_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	const char *pid;
	char who[400];

	if (!info)
		return -1;
	facts_name(x, who, sizeof(who));
	pid = anon_field(info, "Pid");
	if (!pid)
		return anon_unknown(x, "process", f);
	p.nspid = atoi(pid);
	if (p.nspid != GONE && !is_dumped(fs, p.nspid, &p.nspid))
		return fault(f, -ENOTSUP, "%s: its process (%d) is not one of those that are "
			     "dumped; dump them together, or let the program close it", who,
			     p.nspid);
	p.id = x->id;
	p.ino = x->st.st_ino;
	p.flags = x->flags & ~O_ACCMODE;
	p.fown = x->fown;
	e.type = FD_TYPES__PIDFD;
	e.id = x->id;
	e.pidfd = &p;
	return files_write_entry(fs, &e, f);
}

/* A child that has ended and waits to be reaped. -1 with f set. */
static pid_t make_ended(struct fault *f)
{
	siginfo_t info;
	long pid = syscall(SYS_clone, 0, 0, 0, 0, 0);	/* no signal at its end */

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return fault(f, errno, "make a process that ends");
	while (waitid(P_PID, pid, &info, WEXITED | WNOWAIT | __WALL) < 0)
		if (errno != EINTR)
			return fault(f, errno, "wait for the end of a process");
	return pid;
}

static int open_pidfd(pid_t pid, const struct file *file, struct fault *f)
{
	int fd = syscall(SYS_pidfd_open, pid,
			 file->entry->pidfd->flags & (O_NONBLOCK | OF_A_THREAD));

	return fd < 0 ? fault(f, errno, "pidfd %u: open process %d", file->id, pid) : fd;
}

/* All descriptors of the process that is gone and that this one refers to. */
static int open_gone(struct files *fs, uint32_t ino, struct fault *f)
{
	struct restore *r = fs->restore;
	pid_t pid = make_ended(f);
	int bad = 0;
	size_t i;

	if (pid < 0)
		return -1;
	for (i = 0; i < r->nfiles && !bad; i++) {
		struct file *file = &r->file[i];
		const PidfdEntry *p = file->entry->pidfd;

		if (file->type != &pidfd_type || !p || p->nspid != GONE || p->ino != ino)
			continue;
		file->fd = open_pidfd(pid, file, f);
		bad = file->fd < 0;
	}
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	return bad ? -1 : 0;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const PidfdEntry *p = file->entry->pidfd;

	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete pidfd", file->id);
	if (p->nspid != GONE && p->nspid <= 0)
		return fault(f, -EBADMSG, "files.img: pidfd %u: process %d", file->id, p->nspid);
	return p->nspid == GONE && file->fd < 0 ? open_gone(fs, p->ino, f) : 0;
}

static bool late(struct files *fs, const struct file *file)
{
	const PidfdEntry *p = file->entry->pidfd;

	(void)fs;
	return p->nspid != GONE && p->flags & OF_A_THREAD;
}

static int open_late(struct files *fs, const struct file *file, struct batch *b)
{
	const PidfdEntry *p = file->entry->pidfd;

	(void)fs;
	return batch_op(b, 0, GATE_STOP_ON_ERROR, SYS_pidfd_open, 2, gc(p->nspid),
			gc(p->flags & (O_NONBLOCK | OF_A_THREAD)));
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	(void)fs;
	if (file->fd < 0)
		file->fd = open_pidfd(file->entry->pidfd->nspid, file, f);
	return file->fd < 0 ? CREATE_FAILED : CREATED;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->pidfd->fown;
}

const struct file_type pidfd_type = {
	.name = "pidfd",
	.deed = "opened again for the process of the same number",
	.harmless = true,
	.type = FD_TYPES__PIDFD,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
	.late = late,
	.open_late = open_late,
	.fown = fown,
};
