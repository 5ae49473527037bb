/* SPDX-License-Identifier: MIT */
/*
 * openings.c - paths that several tasks need, opened once: the tasks of a tree map the same
 * libraries and stand in the same directories.
 *
 * Rights:   those of regular.c.
 * Holds:    the descriptors, until openings_close.
 */
#include "workers/files/openings.h"

#include <fcntl.h>

#include "proto/control/util.h"
#include "workers/files/memfd.h"
#include "workers/files/regular.h"

int openings_get(struct files *fs, struct openings *o, uint32_t id, int flags, const char *who,
		 struct fault *f)
{
	struct opened *e;
	struct file *file;
	size_t i;
	int fd;

	for (i = 0; i < o->n; i++)
		if (o->list[i].id == id && o->list[i].flags == flags)
			return o->list[i].fd;
	file = files_find(fs, id);
	if (file && file->type == &memfd_type)
		fd = memfd_open_mapped(fs, file, flags & O_ACCMODE, f);
	else if ((file = regular_find(fs, id, who, f)))
		fd = regular_open(fs, file, flags, f);
	else
		return -1;
	if (fd < 0)
		return fault_prefix(f, "%s", who);
	e = grow(&o->list, o->n++, &o->cap, sizeof(*e));
	*e = (struct opened){ id, flags, fd };
	return fd;
}

void openings_close(struct openings *o)
{
	size_t i;

	for (i = 0; i < o->n; i++)
		close(o->list[i].fd);
	free(o->list);
	*o = (struct openings){ 0 };
}
