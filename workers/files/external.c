/* SPDX-License-Identifier: MIT */
/*
 * external.c - files the user answers for.
 *
 *	dump --external file[MNT:INODE]		the entry gets that key instead of a path
 *	restore --inherit-fd fd[N]:KEY		descriptor N stands for the file with that key,
 *						path (without the leading slash) or "pipe:[INODE]"
 *
 * Rights:   none.
 * Holds:    nothing; inherited descriptors belong to the worker's setting.
 */
#include "workers/files/external.h"

#include <stdio.h>
#include <string.h>

#include "workers/files/files.h"

bool external_file(struct files *fs, const struct facts *x, char *key, size_t size)
{
	const Options *o = files_opts(fs);
	size_t i;

	if (!o->n_external)
		return false;
	snprintf(key, size, "file[%x:%llx]", x->mnt_id, (unsigned long long)x->st.st_ino);
	for (i = 0; i < o->n_external; i++)
		if (strcmp(o->external[i], key) == 0)
			return true;
	return false;
}

int external_inherited(struct files *fs, const char *key)
{
	const Options *o = files_opts(fs);
	const struct setting *set = &fs->worker->set;
	size_t i;

	for (i = 0; i < o->n_inherit_fd; i++)
		if (strcmp(o->inherit_fd[i]->key, key) == 0 &&
		    o->inherit_fd[i]->fd_index < set->nfds)
			return set->fds[o->inherit_fd[i]->fd_index];
	return -1;
}
