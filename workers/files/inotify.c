/* SPDX-License-Identifier: MIT */
/*
 * inotify.c - watches of files, inotify(7): their numbers, masks and files. Events not read at the
 * dump are lost, as with CRIU: nobody but the kernel can put them in.
 *
 * Restore:  watches are added when all tables are filled, so that our own work on files is
 *           hardly seen.
 * Rights:   CAP_DAC_READ_SEARCH: see watched.c.
 * Holds:    nothing.
 */
#include "workers/files/inotify.h"

#include <errno.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/files/anon.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"
#include "workers/files/watched.h"

#define SET_NEXT_WD _IOW('I', 0, __s32)		/* INOTIFY_IOC_SETNEXTWD */
/* What fdinfo shows besides is the kernel's own. */
#define USER_BITS (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)

static bool match(const struct facts *x)
{
	return anon_is(x, "inotify");
}

static void free_watches(InotifyFileEntry *p)
{
	size_t i;

	for (i = 0; i < p->n_wd; i++) {
		watched_free(p->wd[i]->f_handle);
		free(p->wd[i]);
	}
	free(p->wd);
}

static bool parse_watch(const char *line, InotifyWdEntry *w)
{
	unsigned long long ino;
	int at = 0;

	if (sscanf(line, "%x ino:%llx sdev:%x mask:%x ignored_mask:%x %n", &w->wd, &ino, &w->s_dev,
		   &w->mask, &w->ignored_mask, &at) != 5 || !at)
		return false;
	w->i_ino = ino;
	return watched_parse(line + at, w->f_handle);
}

static int parse(struct files *fs, const struct facts *x, const char *info, InotifyFileEntry *p,
		 struct fault *f)
{
	const char *line = info;
	InotifyWdEntry *w;
	char who[400];
	size_t cap = 0;

	facts_name(x, who, sizeof(who));
	while ((line = anon_field(line, "inotify wd")) != NULL) {
		w = xcalloc(1, sizeof(*w));
		inotify_wd_entry__init(w);
		w->f_handle = watched_new();
		*(InotifyWdEntry **)grow(&p->wd, p->n_wd++, &cap, sizeof(w)) = w;
		if (!parse_watch(line, w))
			return anon_unknown(x, "watches (a file system without file handles?)", f);
		w->id = x->id;
		if (watched_dump(fs, who, w->s_dev, w->i_ino, w->f_handle, f) < 0)
			return -1;
		line = strchr(line, '\n');
	}
	return 0;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = anon_info(x, f);
	InotifyFileEntry p = INOTIFY_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	int r, unread = 0;
	char who[400];

	if (!info)
		return -1;
	if (ioctl(x->dup, FIONREAD, &unread) == 0 && unread)
		log_warnx("%s: events not read yet are lost", facts_name(x, who, sizeof(who)));
	p.id = x->id;
	p.flags = x->flags;
	p.fown = x->fown;
	e.type = FD_TYPES__INOTIFY;
	e.id = x->id;
	e.ify = &p;
	r = parse(fs, x, info, &p, f);
	if (r == 0)
		r = files_write_entry(fs, &e, f);
	free_watches(&p);
	return r;
}

static int by_number(const void *a, const void *b)
{
	const InotifyWdEntry *x = *(InotifyWdEntry *const *)a, *y = *(InotifyWdEntry *const *)b;

	return x->wd < y->wd ? -1 : x->wd > y->wd;
}

/* Puts the watches in the order of their numbers, in which they are added. */
static int check(struct files *fs, struct file *file, struct fault *f)
{
	const InotifyFileEntry *p = file->entry->ify;
	char who[64];
	size_t i;

	(void)fs;
	snprintf(who, sizeof(who), "files.img: inotify %u", file->id);
	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete inotify", file->id);
	if (p->n_wd)
		qsort(p->wd, p->n_wd, sizeof(*p->wd), by_number);
	for (i = 0; i < p->n_wd; i++) {
		if (p->wd[i]->wd == 0 || p->wd[i]->wd > INT32_MAX ||
		    (i && p->wd[i]->wd == p->wd[i - 1]->wd))
			return fault(f, -EBADMSG, "%s: watch number %u", who, p->wd[i]->wd);
		if (watched_check(who, p->wd[i]->f_handle, f) < 0)
			return -1;
	}
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	(void)fs;
	file->fd = inotify_init1(IN_CLOEXEC);
	if (file->fd < 0)
		return fault(f, errno, "make inotify %u", file->id);
	return files_set_flags(file->fd, file->entry->ify->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

/* A kernel that cannot be told the next number counts up to it. */
static int add_numbered(int fd, const char *path, const InotifyWdEntry *w, struct fault *f)
{
	const int want = (int)w->wd;
	int wd = -1;

	ioctl(fd, SET_NEXT_WD, (long)want);
	while (wd < want) {
		if (wd >= 0)
			inotify_rm_watch(fd, wd);
		wd = inotify_add_watch(fd, path, w->mask & USER_BITS);
		if (wd < 0)
			return fault(f, errno, "add watch %d", want);
	}
	if (wd != want)
		return fault(f, -EBADMSG, "watch %d has the file of watch %d", want, wd);
	return 0;
}

static int add_watches(struct files *fs, const struct file *file, struct fault *f)
{
	const InotifyFileEntry *p = file->entry->ify;
	char who[64], self[32];
	size_t i;

	snprintf(who, sizeof(who), "inotify %u", file->id);
	for (i = 0; i < p->n_wd; i++) {
		const InotifyWdEntry *w = p->wd[i];
		AUTO_CLOSE int target = watched_open(fs, who, w->s_dev, w->i_ino, w->f_handle, f);

		if (target < 0)
			return -1;
		snprintf(self, sizeof(self), "/proc/self/fd/%d", target);
		if (add_numbered(file->fd, self, w, f) < 0)
			return fault_prefix(f, "%s", who);
	}
	return 0;
}

static int installed(struct files *fs, struct fault *f)
{
	return files_each_created(fs, &inotify_type, add_watches, f);
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->ify->fown;
}

const struct file_type inotify_type = {
	.name = "inotify",
	.deed = "its watches are set again",
	.harmless = true,
	.type = FD_TYPES__INOTIFY,
	.match = match,
	.dump = dump,
	.dump_done = watched_dump_done,
	.check = check,
	.create = create,
	.installed = installed,
	.fown = fown,
	.end = watched_end,
};
