/* SPDX-License-Identifier: MIT */
/*
 * tty_terms.c - the terminals of a restore: read and check their images.
 *
 * Rights:   the image directory.
 * Holds:    tty-info.img and tty-data.img, until the end.
 */
#include "workers/files/tty_terms.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/files/files.h"
#include "workers/files/regular.h"
#include "workers/files/tty_state.h"

#define INDEX_LIMIT (1u << 20)		/* NR_UNIX98_PTY_MAX */

struct term *terms_by_id(struct files *fs, uint32_t id)
{
	struct terms *s = fs->terms;
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->term[i].info->id == id)
			return &s->term[i];
	return NULL;
}

/* The live end of the pty with that index: its master or its slave. */
static struct term *find_end(struct files *fs, uint32_t index, bool master)
{
	struct terms *s = fs->terms;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct term *t = &s->term[i];

		if (t->info->pty && t->info->pty->index == index && t->given < 0 && !t->hung &&
		    t->kind->master == master)
			return t;
	}
	return NULL;
}

struct term *terms_master_of(struct files *fs, const struct term *slave)
{
	return find_end(fs, slave->info->pty->index, true);
}

struct term *terms_slave_of(struct files *fs, const struct term *master)
{
	return find_end(fs, master->info->pty->index, false);
}

struct term *terms_controlling(struct files *fs, uint32_t sid)
{
	size_t i;

	for (i = 0; i < fs->terms->n; i++) {
		struct term *t = &fs->terms->term[i];

		if (t->info->sid != sid || t->inherits || t->hung ||
		    t->info->type == TTY_TYPE__CTTY)
			continue;
		return t->kind->slave && t->given < 0 ? terms_master_of(fs, t) : t;
	}
	return NULL;
}

int terms_fd(const struct term *t)
{
	size_t i;

	for (i = 0; i < t->nfiles; i++)
		if (t->file[i]->created)
			return t->file[i]->fd;
	return -1;
}

static int check_info(const TtyInfoEntry *e, const struct tty_kind *kind, struct fault *f)
{
	if (!kind || kind->type != e->type)
		return fault(f, -EBADMSG, "tty-info.img: terminal %u: type %d and device %u:%u do "
			     "not belong together", e->id, e->type, major(e->rdev), minor(e->rdev));
	if ((e->type == TTY_TYPE__PTY) != (e->pty != NULL))
		return fault(f, -EBADMSG, "tty-info.img: terminal %u: a pty index where none "
			     "belongs, or none", e->id);
	if (e->pty && e->pty->index >= INDEX_LIMIT)
		return fault(f, -EBADMSG, "tty-info.img: terminal %u: impossible index %u", e->id,
			     e->pty->index);
	if (!tty_state_complete(e) &&
	    !((kind->slave || kind->type == TTY_TYPE__CTTY) && tty_state_absent(e)))
		return fault(f, -EBADMSG, "tty-info.img: terminal %u: modes or window size are not"
			     " complete", e->id);
	return 0;
}

static int add_term(struct files *fs, TtyInfoEntry *e, struct fault *f)
{
	const struct tty_kind *kind = tty_kind_of(e->rdev);
	struct term *t;
	int given = -1;

	if (terms_by_id(fs, e->id))
		return fault(f, -EBADMSG, "tty-info.img: terminal %u appears twice", e->id);
	if (e->type != TTY_TYPE__CTTY)
		given = tty_inherited(fs, e->rdev, e->dev);
	if (e->type == TTY_TYPE__EXT_TTY) {
		kind = &tty_external;
		if (given < 0)
			return fault(f, -ENOENT, "terminal %u (tty[%x:%x]) is external: restore "
				     "with --inherit-fd 'fd[N]:tty[%x:%x]'", e->id, e->rdev, e->dev,
				     e->rdev, e->dev);
	}
	if (check_info(e, kind, f) < 0)
		return -1;
	t = grow(&fs->terms->term, fs->terms->n, &fs->terms->cap, sizeof(*t));
	*t = (struct term){ .info = e, .kind = kind, .given = given, .hung = !e->termios };
	fs->terms->n++;
	return 0;
}

static int read_infos(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	img = image_open_optional(files_image_dir(fs), IMG_TTY_INFO, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		if (add_term(fs, (TtyInfoEntry *)msg, f) < 0) {
			protobuf_c_message_free_unpacked(msg, NULL);
			return -1;
		}
	}
	return r;
}

/* /dev/tty of no session: what it stands for must be there, and be something else. */
static int check_behind(struct files *fs, struct fault *f)
{
	size_t i;

	for (i = 0; i < fs->terms->n; i++) {
		const TtyInfoEntry *e = fs->terms->term[i].info;
		const struct term *real;

		if (e->type != TTY_TYPE__CTTY || !e->has_behind)
			continue;
		real = terms_by_id(fs, e->behind);
		if (!real || real->hung || real->info->type == TTY_TYPE__CTTY)
			return fault(f, -EBADMSG, "tty-info.img: terminal %u stands for %u, which "
				     "is no terminal", e->id, e->behind);
	}
	return 0;
}

static int read_data(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	struct term *t;
	int r;

	img = image_open_optional(files_image_dir(fs), IMG_TTY_DATA, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		uint32_t id = ((TtyDataEntry *)msg)->tty_id;

		t = terms_by_id(fs, id);
		if (!t || t->data) {
			protobuf_c_message_free_unpacked(msg, NULL);
			return fault(f, -EBADMSG, "tty-data.img: terminal %u %s", id,
				     t ? "appears twice" : "is not in tty-info.img");
		}
		t->data = (TtyDataEntry *)msg;
	}
	return r;
}

/* Which slave stands for the terminal of the restore? At most one can. */
static int find_inheritor(struct files *fs, struct fault *f)
{
	const struct term *found = NULL;
	size_t i;

	for (i = 0; i < fs->terms->n; i++) {
		struct term *t = &fs->terms->term[i];

		if (!t->kind->slave || t->hung || t->given >= 0 || terms_master_of(fs, t))
			continue;
		if (!files_opts(fs)->shell_job)
			return fault(f, -ENOENT, "pty slave %u has no master in the images: "
				     "restore with --shell-job to give it your terminal",
				     t->info->pty->index);
		if (!files_opts(fs)->has_tty_fd_index)
			return fault(f, -ENOTTY, "pty slave %u is to become your terminal, but the"
				     " standard input is none: restore from a terminal",
				     t->info->pty->index);
		if (found)
			return fault(f, -ENOTSUP, "pty slaves %u and %u both have no master in the"
				     " images: only one terminal can be replaced",
				     found->info->pty->index, t->info->pty->index);
		t->inherits = true;
		found = t;
	}
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct term *const *left = a, *const *right = b;
	const uint32_t l = (*left)->info->pty->index, r = (*right)->info->pty->index;

	return l < r ? -1 : l > r;
}

static void list_masters(struct terms *s)
{
	size_t i;

	s->master = xcalloc(s->n + 1, sizeof(*s->master));
	for (i = 0; i < s->n; i++)
		if (s->term[i].kind->master && s->term[i].given < 0)
			s->master[s->nmasters++] = &s->term[i];
	qsort(s->master, s->nmasters, sizeof(*s->master), by_index);
}

int tty_prepare(struct files *fs, struct fault *f)
{
	fs->terms = xcalloc(1, sizeof(*fs->terms));
	if (read_infos(fs, f) < 0 || check_behind(fs, f) < 0 || read_data(fs, f) < 0)
		return -1;
	list_masters(fs->terms);
	return find_inheritor(fs, f);
}

int tty_check(struct files *fs, struct file *file, struct fault *f)
{
	const TtyFileEntry *e = file->entry->tty;
	struct term *t;
	char who[64];

	if (!e || e->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete terminal", file->id);
	t = terms_by_id(fs, e->tty_info_id);
	if (!t)
		return fault(f, -EBADMSG, "files.img: file %u refers to terminal %u, which"
			     " tty-info.img does not have", file->id, e->tty_info_id);
	snprintf(who, sizeof(who), "terminal file %u", file->id);
	if (t->given < 0 && (!e->has_regf_id || !regular_find(fs, e->regf_id, who, f)))
		return fault(f, -EBADMSG, "files.img: terminal file %u has no path", file->id);
	if (t->kind->master && t->nfiles)
		return fault(f, -EBADMSG, "files.img: files %u and %u are both the master of pty "
			     "%u", t->file[0]->id, file->id,
			     t->info->pty ? t->info->pty->index : 0);
	*(struct file **)grow(&t->file, t->nfiles, &t->files_cap, sizeof(file)) = file;
	t->nfiles++;
	return 0;
}

void terms_end(struct files *fs)
{
	struct terms *s = fs->terms;
	size_t i;

	for (i = 0; s && i < s->n; i++) {
		protobuf_c_message_free_unpacked(&s->term[i].info->base, NULL);
		if (s->term[i].data)
			protobuf_c_message_free_unpacked(&s->term[i].data->base, NULL);
		free(s->term[i].file);
	}
	if (s) {
		free(s->term);
		free(s->master);
	}
	free(s);
	fs->terms = NULL;
}
