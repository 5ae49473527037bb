/* SPDX-License-Identifier: MIT */
/*
 * eventfd.c - event counters, eventfd(2).
 *
 * CRIU's images have no place for EFD_SEMAPHORE. Its value is that of O_WRONLY, which an eventfd
 * (always O_RDWR) never has and F_SETFL ignores: it is kept in the entry's flags, and CRIU
 * restores such an image as it restores its own.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/files/eventfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/files/anon.h"

static bool match(const struct facts *x)
{
	return anon_is(x, "[eventfd]");
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = anon_info(x, f);
	EventfdFileEntry p = EVENTFD_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	const char *count, *semaphore;

	if (!info)
		return -1;
	count = anon_field(info, "eventfd-count");
	semaphore = anon_field(info, "eventfd-semaphore");	/* since Linux 6.7 */
	if (!count)
		return anon_unknown(x, "count", f);
	p.id = x->id;
	p.flags = x->flags;
	if (semaphore && *semaphore == '1')
		p.flags |= EFD_SEMAPHORE;
	p.fown = x->fown;
	p.counter = strtoull(count, NULL, 16);
	e.type = FD_TYPES__EVENTFD;
	e.id = x->id;
	e.efd = &p;
	return files_write_entry(fs, &e, f);
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const EventfdFileEntry *p = file->entry->efd;

	(void)fs;
	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete eventfd", file->id);
	if (p->counter == UINT64_MAX)
		return fault(f, -EBADMSG, "files.img: eventfd %u: impossible count", file->id);
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const EventfdFileEntry *p = file->entry->efd;
	uint64_t count = p->counter;

	(void)fs;
	file->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (p->flags & EFD_SEMAPHORE));
	if (file->fd < 0)
		return fault(f, errno, "make eventfd %u", file->id);
	if (count && write(file->fd, &count, sizeof(count)) != sizeof(count))
		return fault(f, errno, "give eventfd %u its count", file->id);
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->efd->fown;
}

const struct file_type eventfd_type = {
	.name = "eventfd",
	.deed = "with its counter",
	.harmless = true,
	.type = FD_TYPES__EVENTFD,
	.match = match,
	.dump = dump,
	.check = check,
	.create = create,
	.fown = fown,
};
