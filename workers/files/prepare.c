/* SPDX-License-Identifier: MIT */
/*
 * prepare.c - read and check the images of a restore before any task exists.
 *
 * files.img first (ids unique), then what the types keep in images of their own, then each
 * entry by its type, then the tables and directories of the tasks (every reference leads
 * somewhere).
 *
 * Rights:   the image directory.
 * Holds:    struct restore: all entries, until the end.
 */
#include "workers/files/prepare.h"

#include <errno.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/gate_client.h"
#include "workers/files/files.h"
#include "workers/files/locks.h"
#include "workers/files/regular.h"

#define FD_LIMIT (1u << 20)		/* fs.nr_open, unless changed */

static int by_id(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

struct file *files_find(struct files *fs, uint32_t id)
{
	const struct file key = { .id = id };
	struct restore *r = fs->restore;

	return r->nfiles ? bsearch(&key, r->file, r->nfiles, sizeof(key), by_id) : NULL;
}

static int by_pid(const void *a, const void *b)
{
	const struct task_files *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

struct task_files *prepare_task(struct files *fs, pid_t pid)
{
	const struct task_files key = { .pid = pid };
	struct restore *r = fs->restore;

	return r && r->ntasks ? bsearch(&key, r->task, r->ntasks, sizeof(key), by_pid) : NULL;
}

struct gate *files_gate(struct files *fs, pid_t pid)
{
	struct task_files *t = prepare_task(fs, pid);

	return t ? t->gate : NULL;
}

int files_spare_fd(struct files *fs, pid_t pid)
{
	struct task_files *t = prepare_task(fs, pid);
	uint32_t top;

	if (!t)
		die("no task %d", pid);
	top = t->table->n ? t->table->max_fd + 1 : 0;
	return top > t->mapped_end ? top : t->mapped_end;
}

static int add_file(struct restore *r, FileEntry *e, struct fault *f)
{
	const struct file_type *type = type_of_entry(e->type);
	struct file *file;

	if (!type)
		return fault(f, -ENOTSUP, "files.img: file %u is of type %d, which cannot be"
			     " restored yet", e->id, e->type);
	file = grow(&r->file, r->nfiles, &r->files_cap, sizeof(*file));
	*file = (struct file){ .id = e->id, .type = type, .entry = e, .fd = -1 };
	r->nfiles++;
	return 0;
}

static int read_files(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	struct restore *r = fs->restore;
	ProtobufCMessage *msg;
	size_t i;
	int n;

	img = image_open(files_image_dir(fs), IMG_FILES, 0, f);
	if (!img)
		return -1;
	while ((n = image_read(img, &msg, f)) > 0) {
		if (add_file(r, (FileEntry *)msg, f) < 0) {
			protobuf_c_message_free_unpacked(msg, NULL);
			return -1;
		}
	}
	if (n < 0)
		return -1;
	if (r->nfiles)
		qsort(r->file, r->nfiles, sizeof(*r->file), by_id);
	for (i = 1; i < r->nfiles; i++)
		if (r->file[i].id == r->file[i - 1].id)
			return fault(f, -EBADMSG, "files.img: two files have the id %u",
				     r->file[i].id);
	return 0;
}

static int check_files(struct files *fs, struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; i < r->nfiles; i++)
		if (r->file[i].type->type == FD_TYPES__REG &&
		    r->file[i].type->check(fs, &r->file[i], f) < 0)
			return -1;
	for (i = 0; file_types[i]; i++)
		if (file_types[i]->prepare && file_types[i]->prepare(fs, f) < 0)
			return -1;
	for (i = 0; i < r->nfiles; i++)
		if (r->file[i].type->type != FD_TYPES__REG &&
		    r->file[i].type->check(fs, &r->file[i], f) < 0)
			return -1;
	return 0;
}

static int add_descriptor(struct files *fs, struct table *t, FdinfoEntry *e, const char *img,
			  struct fault *f)
{
	struct file *file = files_find(fs, e->id);
	struct fd_user *u;

	if (e->fd >= FD_LIMIT)
		return fault(f, -EBADMSG, "%s: descriptor %u is beyond any limit", img, e->fd);
	if (!file)
		return fault(f, -EBADMSG, "%s: descriptor %u refers to file %u, which files.img "
			     "does not have", img, e->fd, e->id);
	if (file->type->type != e->type)
		return fault(f, -EBADMSG, "%s: descriptor %u is of type %d but file %u is a %s",
			     img, e->fd, e->type, e->id, file->type->name);
	if (file->type->refuse)
		return fault(f, -ENOTSUP, "%s: descriptor %u is a %s, which cannot be restored yet",
			     img, e->fd, file->type->name);
	*(FdinfoEntry **)grow(&t->entry, t->n, &t->entry_cap, sizeof(e)) = e;
	*(struct file **)grow(&t->file, t->n, &t->file_cap, sizeof(file)) = file;
	t->n++;
	if (e->fd > t->max_fd)
		t->max_fd = e->fd;
	u = grow(&file->users, file->nusers++, &file->users_cap, sizeof(*u));
	*u = (struct fd_user){ t, e };
	return 0;
}

static int by_fd(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int check_unique(const struct table *t, const char *img, struct fault *f)
{
	AUTO_FREE uint32_t *fd = xcalloc(t->n, sizeof(*fd));
	size_t i;

	for (i = 0; i < t->n; i++)
		fd[i] = t->entry[i]->fd;
	qsort(fd, t->n, sizeof(*fd), by_fd);
	for (i = 1; i < t->n; i++)
		if (fd[i] == fd[i - 1])
			return fault(f, -EBADMSG, "%s: descriptor %u appears twice", img, fd[i]);
	return 0;
}

static int read_entries(struct files *fs, struct table *t, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(files_image_dir(fs), IMG_FDINFO, t->id, f);
	ProtobufCMessage *msg;
	int r;

	if (!img)
		return -1;
	while ((r = image_read(img, &msg, f)) > 0) {
		if (add_descriptor(fs, t, (FdinfoEntry *)msg, image_label(img), f) < 0) {
			protobuf_c_message_free_unpacked(msg, NULL);
			return -1;
		}
	}
	return r < 0 ? -1 : check_unique(t, image_label(img), f);
}

/* The table with that id, read when it is met first. */
static struct table *get_table(struct files *fs, uint32_t id, struct fault *f)
{
	struct restore *r = fs->restore;
	struct table *t;
	size_t i;

	for (i = r->ntables; i-- > 0;)
		if (r->table[i]->id == id)
			return r->table[i];
	t = xcalloc(1, sizeof(*t));
	t->id = id;
	*(struct table **)grow(&r->table, r->ntables++, &r->tables_cap, sizeof(t)) = t;
	return read_entries(fs, t, f) < 0 ? NULL : t;
}

static int read_fs(struct files *fs, struct task_files *t, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open(files_image_dir(fs), IMG_FS, t->pid, f);
	ProtobufCMessage *msg;

	if (!img || image_read_one(img, &msg, f) < 0)
		return -1;
	t->fs = (FsEntry *)msg;
	if (!regular_find(fs, t->fs->cwd_id, image_label(img), f) ||
	    !regular_find(fs, t->fs->root_id, image_label(img), f))
		return -1;
	return 0;
}

static int add_task(struct files *fs, const RestoreTask *req, struct fault *f)
{
	struct restore *r = fs->restore;
	struct task_files *t = &r->task[r->ntasks];

	*t = (struct task_files){ .pid = req->pid, .fs_shared = req->fs_shared };
	r->ntasks++;
	t->table = get_table(fs, req->files_id, f);
	return t->table ? read_fs(fs, t, f) : -1;
}

int prepare(struct files *fs, const FilesPrepare *req, struct fault *f)
{
	struct restore *r;
	size_t i;

	if (fs->restore)
		return fault(f, -EPROTO, "a restore is prepared already");
	r = fs->restore = xcalloc(1, sizeof(*r));
	r->gate_memory = -1;
	r->req = req;
	r->task = xcalloc(req->n_task, sizeof(*r->task));
	if (read_files(fs, f) < 0 || check_files(fs, f) < 0)
		return -1;
	for (i = 0; i < req->n_task; i++)
		if (!req->task[i]->dead && add_task(fs, req->task[i], f) < 0)
			return -1;
	r->req = NULL;
	qsort(r->task, r->ntasks, sizeof(*r->task), by_pid);
	if (locks_prepare(fs, f) < 0)
		return -1;
	r->checked = true;
	return 0;
}

int prepare_gates(struct files *fs, const Gates *req, int fd, struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	if (!r || (fd >= 0) == (r->gate_memory >= 0))
		return fault(f, -EPROTO, "untimely gates");
	if (fd >= 0)
		r->gate_memory = fd;
	for (i = 0; i < req->n_place; i++) {
		const GatePlace *p = req->place[i];
		const struct gate_place place = {
			.pid = p->pid, .file_offset = p->file_offset, .base = p->address,
			.size = p->size, .nmailboxes = p->nmailboxes,
		};
		struct task_files *t = prepare_task(fs, p->pid);

		if (!t || t->gate)
			return fault(f, -EPROTO, "unexpected gate of task %u", p->pid);
		t->gate = gate_open(r->gate_memory, &place, false, GATE_MODE_RESTORE, f);
		if (!t->gate)
			return -1;
	}
	return 0;
}

static void free_table(struct table *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		protobuf_c_message_free_unpacked(&t->entry[i]->base, NULL);
	free(t->entry);
	free(t->file);
	free(t);
}

void prepare_end(struct files *fs)
{
	struct restore *r = fs->restore;
	size_t i;

	if (!r)
		return;
	for (i = 0; i < r->ntasks; i++) {
		if (r->task[i].fs)
			protobuf_c_message_free_unpacked(&r->task[i].fs->base, NULL);
		if (r->task[i].gate)
			gate_close(r->task[i].gate);
	}
	for (i = 0; i < r->ntables; i++)
		free_table(r->table[i]);
	for (i = 0; i < r->nfiles; i++) {
		auto_close(&r->file[i].fd);
		free(r->file[i].users);
		protobuf_c_message_free_unpacked(&r->file[i].entry->base, NULL);
	}
	auto_close(&r->gate_memory);
	free(r->file);
	free(r->table);
	free(r->task);
	free(r);
	fs->restore = NULL;
}

int files_each_created(struct files *fs, const struct file_type *type,
		       int (*act)(struct files *fs, const struct file *file, struct fault *f),
		       struct fault *f)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; i < r->nfiles; i++)
		if (r->file[i].created && r->file[i].type == type && act(fs, &r->file[i], f) < 0)
			return -1;
	return 0;
}
