/* SPDX-License-Identifier: MIT */
/*
 * install.c - create the files, give tasks their descriptors, directories and umask.
 *
 * Each file is created once, here, whoever uses it; then all tables are filled (deliver.c).
 * Our duplicates stay until files_finish: owners of files are named last, when all threads exist.
 *
 * Rights:   those of the types and of deliver.c.
 * Holds:    the created descriptors, in struct file.
 */
#include "workers/files/install.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "proto/control/util.h"
#include "workers/files/deliver.h"
#include "workers/files/files.h"
#include "workers/common/fown.h"
#include "workers/files/late.h"
#include "workers/files/openings.h"

#define EARLY_SLICE 16		/* files, some 100 us: meanwhile a request waits */

/* Services for types */

int files_set_flags(int fd, uint32_t flags, struct fault *f)
{
	if (fcntl(fd, F_SETFL, flags & FILES_STATUS_FLAGS) < 0)
		return fault(f, errno, "set flags %#x of a file", flags);
	return 0;
}

int files_reopen(int fd, int flags, struct fault *f)
{
	char self[32];
	int new;

	/* O_NOFOLLOW would stop at the link in /proc. */
	flags = (flags & ~O_NOFOLLOW) | O_CLOEXEC;
	if (!(flags & O_PATH))
		flags |= O_NOCTTY | O_NONBLOCK;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	new = open(self, flags);
	return new < 0 ? fault(f, errno, "open a file again") : new;
}

/* Creation */

/* Name a user of the file: what the person looks for when it cannot be made. */
static int explain(const struct file *file, struct fault *f)
{
	if (!file->nusers)
		return -1;
	return fault_prefix(f, "descriptor %u (%s %u, table %u)", file->users[0].entry->fd,
			    file->type->name, file->id, file->users[0].table->id);
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const struct file_type *t = file->type;
	enum created c;

	c = t->late && t->late(fs, file) ? late_keep(file, f) : t->create(fs, file, f);
	file->created = c == CREATED;
	return c == CREATE_FAILED ? explain(file, f) : c;
}

bool install_early(struct files *fs)
{
	struct restore *r = fs->restore;
	int made = 0;

	if (!r || !r->checked)
		return false;
	for (; r->early < r->nfiles && made < EARLY_SLICE; r->early++) {
		struct file *file = &r->file[r->early];

		if (file->created || !file->nusers || !file->type->early ||
		    !file->type->early(fs, file))
			continue;
		made++;
		if (create(fs, file, &r->early_fault) == CREATE_FAILED)
			r->early = r->nfiles - 1;
	}
	return r->early < r->nfiles;
}

/* Ask each file not made yet once. Returns how many are left, *made how many succeeded; or -1. */
static long create_round(struct files *fs, size_t *made, struct fault *f)
{
	struct restore *r = fs->restore;
	long left = 0;
	size_t i;

	for (i = 0; i < r->nfiles; i++) {
		struct file *file = &r->file[i];
		enum created c;

		if (file->created || (!file->nusers && !file->lent))
			continue;
		c = create(fs, file, f);
		if (c == CREATE_FAILED)
			return -1;
		if (c == CREATED)
			(*made)++;
		else
			left++;
	}
	return left;
}

/* Create until nothing is left or what is left waits. Returns how many are left, or -1. */
static long create_files(struct files *fs, struct fault *f)
{
	size_t made;
	long left;

	if (!fs->restore)
		return fault(f, -EPROTO, "nothing is prepared to be restored");
	if (fs->restore->early_fault.code) {
		*f = fs->restore->early_fault;
		return -1;
	}
	do {
		made = 0;
		left = create_round(fs, &made, f);
	} while (left > 0 && made);
	return left;
}

int install_begin(struct files *fs, const uint32_t *lend, size_t n, struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++) {
		struct file *file = fs->restore ? files_find(fs, lend[i]) : NULL;

		if (!file)
			return fault(f, -EBADMSG, "file %u waits in a socket, but files.img does "
				     "not have it", lend[i]);
		file->lent = true;
	}
	return create_files(fs, f) < 0 ? -1 : 0;
}

static int finish_files(struct files *fs, struct fault *f)
{
	long left = create_files(fs, f);

	if (left > 0)
		return fault(f, -EDEADLK, "%ld files of files.img wait for each other", left);
	return left;
}

/* Passing */

static bool is_our_root(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat("/", &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* The directories of a task. The root we have ourselves is what it was forked with. */
static int find_dirs(struct files *fs, struct openings *o, struct delivery *d, struct fault *f)
{
	const struct task_files *t = d->task;
	char who[64];

	snprintf(who, sizeof(who), "working directory of task %d", t->pid);
	d->cwd = openings_get(fs, o, t->fs->cwd_id, O_PATH | O_DIRECTORY, who, f);
	snprintf(who, sizeof(who), "root directory of task %d", t->pid);
	d->root = d->cwd < 0 ? -1 :
			       openings_get(fs, o, t->fs->root_id, O_PATH | O_DIRECTORY, who, f);
	if (d->root < 0)
		return -1;
	if (is_our_root(d->root))
		d->root = -1;
	d->dirs = true;
	return 0;
}

/* What a task gets; its table only when no task before it had it filled. d->p is the caller's. */
static int plan(struct files *fs, struct openings *o, struct task_files *t, struct delivery *d,
		struct fault *f)
{
	struct table *tab = t->table;
	size_t i;

	*d = (struct delivery){ .task = t, .spare = files_spare_fd(fs, t->pid), .root = -1 };
	if (!tab->installed) {
		d->p = xcalloc(tab->n, sizeof(*d->p));
		d->n = tab->n;
		d->exact = true;
		for (i = 0; i < tab->n; i++)
			d->p[i] = (struct placement){
				tab->file[i]->fd, tab->entry[i]->fd,
				tab->entry[i]->flags & FD_CLOEXEC ? O_CLOEXEC : 0,
			};
		tab->installed = true;
	}
	return t->fs_shared ? 0 : find_dirs(fs, o, d, f);
}

/*
 * Serve the tasks of the list for which this is the turn: first those that are the first
 * of their table, all at once, then the others one by one.
 */
static int install_tasks(struct files *fs, struct task_files **t, size_t n, struct fault *f)
{
	AUTO_FREE struct delivery *d = xcalloc(n, sizeof(*d));
	AUTO_OPENINGS struct openings o = { 0 };
	size_t i, k = 0;
	int r = 0;

	for (i = 0; i < n && r == 0; i++)
		if (!t[i]->table->installed)
			r = plan(fs, &o, t[i], &d[k++], f);
		else
			t[i]->later = true;
	if (r == 0)
		r = deliver(fs, d, k, f);
	while (k-- > 0)
		free(d[k].p);
	for (i = 0; i < n && r == 0; i++) {
		if (!t[i]->later || t[i]->fs_shared)
			continue;
		r = plan(fs, &o, t[i], d, f);
		if (r == 0)
			r = deliver(fs, d, 1, f);
	}
	return r;
}

int install(struct files *fs, const uint32_t *pids, size_t n, struct fault *f)
{
	AUTO_FREE struct task_files **t = xcalloc(n, sizeof(*t));
	size_t i;

	if (finish_files(fs, f) < 0)
		return -1;
	for (i = 0; i < n; i++) {
		t[i] = prepare_task(fs, pids[i]);
		if (!t[i] || !t[i]->gate)
			return fault(f, -EPROTO, "task %u has no gate", pids[i]);
	}
	if (install_tasks(fs, t, n, f) < 0)
		return -1;
	for (i = 0; file_types[i]; i++)
		if (file_types[i]->installed && file_types[i]->installed(fs, f) < 0)
			return -1;
	return 0;
}

int install_owners(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	const FownEntry *e;
	size_t i;

	if (!r)
		return fault(f, -EPROTO, "nothing was restored");
	for (i = 0; i < r->nfiles; i++) {
		struct file *file = &r->file[i];

		if (!file->created || !file->type->fown)
			continue;
		e = file->type->fown(fs, file);
		if (e && fown_is_set(e) && fown_apply(file->fd, e, f) < 0)
			return explain(file, f);
	}
	return 0;
}
