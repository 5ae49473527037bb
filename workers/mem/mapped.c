/* SPDX-License-Identifier: MIT */
/*
 * mapped.c - dump: the files that are mapped, each once.
 *
 * The same inode reached by two names is two files: a restore opens it by name.
 *
 * Rights:   none.
 * Holds:    the table.
 */
#include "workers/mem/mapped.h"

#include <stdlib.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/mem/vma.h"

uint32_t mapped_id(struct mapped_files *all, const struct mapped *file)
{
	struct mapped *m;
	size_t i = all->n;

	/* Backwards: neighbours in an address space usually belong to one file. */
	while (i-- > 0) {
		m = &all->file[i];
		if (m->ino == file->ino && m->dev == file->dev && m->flags == file->flags &&
		    !strcmp(m->name, file->name))
			return MAPPED_ID_FIRST + i;
	}
	m = grow(&all->file, all->n++, &all->cap, sizeof(*m));
	*m = *file;
	m->name = xstrdup(file->name);
	return MAPPED_ID_FIRST + all->n - 1;
}

void mapped_free(struct mapped_files *all)
{
	size_t i;

	for (i = 0; i < all->n; i++)
		free(all->file[i].name);
	free(all->file);
	*all = (struct mapped_files){ 0 };
}
