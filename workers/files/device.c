/* SPDX-License-Identifier: MIT */
/*
 * device.c - files of devices, as far as the files worker knows them: as descriptors with an id.
 *
 * Dump:     each is named to the gpu worker, with the sentence the dump fails with when no driver
 *           there takes it; its entry in files.img says no more than that a plugin has it.
 * Restore:  the gpu worker makes them; they become files with what is in their place here.
 *
 * Rights:   none.
 * Holds:    dump: the files found.
 */
#include "workers/files/device.h"

#include <errno.h>

#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/handed.h"
#include "workers/files/prepare.h"

struct devices {
	DeviceFile **list;		/* not told yet */
	size_t n, cap;
};

/* Dump */

void device_name(struct files *fs, const struct file_type *t, const struct facts *x)
{
	DeviceFile *d = xcalloc(1, sizeof(*d));
	struct fault why = { 0 };
	char who[400];

	if (!fs->devices)
		fs->devices = xcalloc(1, sizeof(*fs->devices));
	type_refuse(t, x, &why);
	device_file__init(d);
	d->id = x->id;
	d->pid = x->pid;
	d->fd = x->fd;
	d->flags = x->flags;
	d->name = xstrdup(facts_name(x, who, sizeof(who)));
	d->refusal = xstrdup(why.text);
	*(DeviceFile **)grow(&fs->devices->list, fs->devices->n++, &fs->devices->cap,
			     sizeof(d)) = d;
}

int device_dump(struct files *fs, const struct file_type *t, const struct facts *x, struct fault *f)
{
	ExtFileEntry ext = EXT_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;

	device_name(fs, t, x);
	ext.id = e.id = x->id;
	ext.fown = x->fown;
	e.type = FD_TYPES__EXT;
	e.ext = &ext;
	return files_write_entry(fs, &e, f);
}

int device_dump_mapped(struct files *fs, const struct facts *x, uint32_t flags, struct fault *f)
{
	RegFileEntry r = REG_FILE_ENTRY__INIT;
	FownEntry nobody = FOWN_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;

	r.id = e.id = x->id;
	r.flags = flags;
	r.fown = &nobody;
	r.name = (char *)x->link;
	r.has_mode = true;
	r.mode = x->st.st_mode;
	e.type = FD_TYPES__REG;
	e.reg = &r;
	return files_write_entry(fs, &e, f);
}

size_t device_found(struct files *fs, DeviceFile ***list)
{
	struct devices *all = fs->devices;
	size_t n = all ? all->n : 0;

	*list = all ? take_ptr(&all->list) : NULL;
	if (all)
		all->n = all->cap = 0;
	return n;
}

/* Restore */

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const ExtFileEntry *e = file->entry->ext;

	(void)fs;
	if (!e || e->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete external file",
			     file->id);
	return 0;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->ext->fown;
}

/* A table may belong to several tasks: the first of them has the descriptor. */
static void add_user(const struct restore *r, DeviceEntry *e, const struct fd_user *u)
{
	DeviceUser *user;
	size_t i = 0;

	while (i < r->ntasks && r->task[i].table != u->table)
		i++;
	if (i == r->ntasks)
		return;
	user = e->user[e->n_user++] = xcalloc(1, sizeof(*user));
	device_user__init(user);
	user->pid = r->task[i].pid;
	user->fd = u->entry->fd;
}

static DeviceEntry *describe(const struct restore *r, const struct file *file)
{
	DeviceEntry *e = xcalloc(1, sizeof(*e));
	size_t i;

	device_entry__init(e);
	e->id = file->id;
	e->user = xcalloc(file->nusers, sizeof(*e->user));
	for (i = 0; i < file->nusers; i++)
		add_user(r, e, &file->users[i]);
	return e;
}

size_t device_entries(struct files *fs, DeviceEntry ***list)
{
	const struct restore *r = fs->restore;
	size_t i, n = 0, cap = 0;

	*list = NULL;
	for (i = 0; i < r->nfiles; i++)
		if (r->file[i].type == &device_type)
			*(DeviceEntry **)grow(list, n++, &cap, sizeof(**list)) =
				describe(r, &r->file[i]);
	return n;
}

static void end(struct files *fs)
{
	struct devices *all = take_ptr(&fs->devices);
	size_t i;

	if (!all)
		return;
	for (i = 0; i < all->n; i++)
		device_file__free_unpacked(all->list[i], NULL);
	free(all->list);
	free(all);
}

const struct file_type device_type = {
	.name = "file of a device",
	.type = FD_TYPES__EXT,
	.check = check,
	.create = handed_create,
	.fown = fown,
	.end = end,
};
