/* SPDX-License-Identifier: MIT */
/*
 * signalfd.c - descriptors that signals are read from, signalfd(2). They hold a mask alone: pending
 * signals belong to the tasks.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/signalfd.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/anon.h"

static bool match(const struct facts *x)
{
	return anon_is(x, "[signalfd]");
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = anon_info(x, f);
	SignalfdEntry p = SIGNALFD_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	const char *mask;

	if (!info)
		return -1;
	mask = anon_field(info, "sigmask");
	if (!mask)
		return anon_unknown(x, "signals", f);
	p.id = x->id;
	p.flags = x->flags;
	p.fown = x->fown;
	p.sigmask = strtoull(mask, NULL, 16);
	e.type = FD_TYPES__SIGNALFD;
	e.id = x->id;
	e.sgfd = &p;
	return files_write_entry(fs, &e, f);
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const SignalfdEntry *p = file->entry->sgfd;

	(void)fs;
	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete signalfd", file->id);
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const SignalfdEntry *p = file->entry->sgfd;
	const uint64_t mask = p->sigmask;

	(void)fs;
	/* The C library's would take its own, larger set. */
	file->fd = syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC);
	if (file->fd < 0)
		return fault(f, errno, "make signalfd %u", file->id);
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->sgfd->fown;
}

const struct file_type signalfd_type = {
	.name = "signalfd",
	.harmless = true,
	.type = FD_TYPES__SIGNALFD,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
	.fown = fown,
};
