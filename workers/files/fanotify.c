/* SPDX-License-Identifier: MIT */
/*
 * fanotify.c - groups of marks, fanotify(7), on files and on mounts. Events not read at the dump
 * are lost, as with CRIU. Marks that ask for permission are refused: whoever touches the files
 * meanwhile, we ourselves among them, would wait for a task that stands still.
 *
 * Restore:  marks are set when all tables are filled, so that our own work is hardly seen.
 * Rights:   CAP_SYS_ADMIN; CAP_DAC_READ_SEARCH: see watched.c.
 * Holds:    nothing.
 */
#include "workers/files/fanotify.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/files/anon.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"
#include "workers/files/watched.h"

#ifndef FAN_MARK_EVICTABLE
#define FAN_MARK_EVICTABLE 0x200
#endif
#ifndef FAN_MARK_IGNORE
#define FAN_MARK_IGNORE 0x400
#endif
#define PRE_ACCESS 0x00100000		/* FAN_PRE_ACCESS, since Linux 6.14 */
#define ASKS (FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | PRE_ACCESS)

static bool match(const struct facts *x)
{
	return anon_is(x, "[fanotify]");
}

static FanotifyMarkEntry *add_mark(FanotifyFileEntry *p, MarkType type, size_t *cap)
{
	FanotifyMarkEntry *m = xcalloc(1, sizeof(*m));

	fanotify_mark_entry__init(m);
	m->id = p->id;
	m->type = type;
	if (type == MARK_TYPE__INODE) {
		m->ie = xcalloc(1, sizeof(*m->ie));
		fanotify_inode_mark_entry__init(m->ie);
		m->ie->f_handle = watched_new();
	} else {
		m->me = xcalloc(1, sizeof(*m->me));
		fanotify_mount_mark_entry__init(m->me);
	}
	*(FanotifyMarkEntry **)grow(&p->mark, p->n_mark++, cap, sizeof(m)) = m;
	return m;
}

static void free_marks(FanotifyFileEntry *p)
{
	size_t i;

	for (i = 0; i < p->n_mark; i++) {
		FanotifyMarkEntry *m = p->mark[i];

		if (m->ie)
			watched_free(m->ie->f_handle);
		if (m->me)
			free(m->me->path);
		free(m->ie);
		free(m->me);
		free(m);
	}
	free(p->mark);
}

static int inode_mark(struct files *fs, const char *who, const char *text, FanotifyMarkEntry *m,
		      struct fault *f)
{
	unsigned long long ino;
	int at = 0;

	if (sscanf(text, "%llx sdev:%x mflags:%x mask:%x ignored_mask:%x %n", &ino, &m->s_dev,
		   &m->mflags, &m->mask, &m->ignored_mask, &at) != 5 || !at ||
	    !watched_parse(text + at, m->ie->f_handle))
		return fault(f, -EPROTO, "%s: its marks have not the form expected", who);
	m->ie->i_ino = ino;
	return watched_dump(fs, who, m->s_dev, ino, m->ie->f_handle, f);
}

static int mount_mark(const char *who, const char *text, FanotifyMarkEntry *m, struct fault *f)
{
	if (sscanf(text, "%x mflags:%x mask:%x ignored_mask:%x", &m->me->mnt_id, &m->mflags,
		   &m->mask, &m->ignored_mask) != 4)
		return fault(f, -EPROTO, "%s: its marks have not the form expected", who);
	m->me->path = watched_mount(m->me->mnt_id, &m->s_dev);
	if (!m->me->path)
		return fault(f, -ENOTSUP, "%s: the mount it watches (%u) is not seen here; let the"
			     " program take the mark away", who, m->me->mnt_id);
	return 0;
}

static int filesystem_mark(const char *who, const char *text, FanotifyMarkEntry *m, struct fault *f)
{
	if (sscanf(text, "%x mflags:%x mask:%x ignored_mask:%x", &m->s_dev, &m->mflags, &m->mask,
		   &m->ignored_mask) != 4)
		return fault(f, -EPROTO, "%s: its marks have not the form expected", who);
	m->me->path = watched_filesystem(m->s_dev);
	if (!m->me->path)
		return fault(f, -ENOTSUP, "%s: the file system it watches (%u:%u) is not mounted "
			     "here; let the program take the mark away", who, m->s_dev >> 20,
			     m->s_dev & 0xfffff);
	return 0;
}

static int parse_line(struct files *fs, const char *who, const char *line, FanotifyFileEntry *p,
		      size_t *cap, struct fault *f)
{
	FanotifyMarkEntry *m = NULL;
	int r = 0;

	if (strncmp(line, "flags:", 6) == 0) {
		if (sscanf(line, "flags:%x event-flags:%x", &p->faflags, &p->evflags) != 2)
			return fault(f, -EPROTO, "%s: fdinfo does not tell its flags", who);
	} else if (strncmp(line, "ino:", 4) == 0) {
		m = add_mark(p, MARK_TYPE__INODE, cap);
		r = inode_mark(fs, who, line + 4, m, f);
	} else if (strncmp(line, "mnt_id:", 7) == 0) {
		m = add_mark(p, MARK_TYPE__MOUNT, cap);
		r = mount_mark(who, line + 7, m, f);
	} else if (strncmp(line, "sdev:", 5) == 0) {
		m = add_mark(p, MARK_TYPE__FILESYSTEM, cap);
		r = filesystem_mark(who, line + 5, m, f);
	} else {
		return fault(f, -ENOTSUP, "%s: it watches a whole namespace, which has no form in "
			     "an image; let the program take the mark away", who);
	}
	if (m && r == 0 && (m->mask & ASKS))
		return fault(f, -ENOTSUP, "%s: it is asked for permission to use files, which "
			     "nobody could while it stands still; let the program take the mark "
			     "away", who);
	return r;
}

static int parse(struct files *fs, const struct facts *x, const char *info, FanotifyFileEntry *p,
		 struct fault *f)
{
	static const char prefix[] = "fanotify ";
	const char *line = info;
	char who[400];
	size_t cap = 0;

	facts_name(x, who, sizeof(who));
	while (line && *line) {
		if (strncmp(line, prefix, sizeof(prefix) - 1) == 0 &&
		    parse_line(fs, who, line + sizeof(prefix) - 1, p, &cap, f) < 0)
			return -1;
		line = strchr(line, '\n');
		line += line ? 1 : 0;
	}
	return 0;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = anon_info(x, f);
	FanotifyFileEntry p = FANOTIFY_FILE_ENTRY__INIT;
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
	e.type = FD_TYPES__FANOTIFY;
	e.id = x->id;
	e.ffy = &p;
	r = parse(fs, x, info, &p, f);
	if (r == 0)
		r = files_write_entry(fs, &e, f);
	free_marks(&p);
	return r;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const FanotifyFileEntry *p = file->entry->ffy;
	char who[64];
	size_t i;

	(void)fs;
	snprintf(who, sizeof(who), "files.img: fanotify %u", file->id);
	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete fanotify", file->id);
	for (i = 0; i < p->n_mark; i++) {
		const FanotifyMarkEntry *m = p->mark[i];

		if (m->type == MARK_TYPE__INODE ? !m->ie : !m->me || !m->me->path)
			return fault(f, -EBADMSG, "%s: a mark does not tell its %s", who,
				     m->type == MARK_TYPE__INODE ? "file" : "mount");
		if (m->mask & ASKS)
			return fault(f, -ENOTSUP, "%s: a mark asks for permission", who);
		if (m->ie && watched_check(who, m->ie->f_handle, f) < 0)
			return -1;
	}
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	const FanotifyFileEntry *p = file->entry->ffy;

	(void)fs;
	/* Its own flags show in fdinfo: no FAN_CLOEXEC that it did not have. */
	file->fd = fanotify_init(p->faflags, p->evflags);
	if (file->fd < 0 || fcntl(file->fd, F_SETFD, FD_CLOEXEC) < 0)
		return fault(f, errno, "make fanotify %u", file->id);
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

static int open_target(struct files *fs, const char *who, const FanotifyMarkEntry *m,
		       struct fault *f)
{
	int fd;

	if (m->type == MARK_TYPE__INODE)
		return watched_open(fs, who, m->s_dev, m->ie->i_ino, m->ie->f_handle, f);
	fd = open(m->me->path, O_PATH | O_CLOEXEC);
	return fd < 0 ? fault(f, errno, "%s: open mount point %s", who, m->me->path) : fd;
}

static int set_mark(struct files *fs, int fd, const char *who, const FanotifyMarkEntry *m,
		    struct fault *f)
{
	AUTO_CLOSE int target = open_target(fs, who, m, f);
	unsigned int flags = FAN_MARK_ADD | (m->mflags & FAN_MARK_EVICTABLE);
	char self[32];

	if (target < 0)
		return -1;
	if (m->type == MARK_TYPE__MOUNT)
		flags |= FAN_MARK_MOUNT;
	if (m->type == MARK_TYPE__FILESYSTEM)
		flags |= FAN_MARK_FILESYSTEM;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", target);
	if (m->mask && fanotify_mark(fd, flags, m->mask, AT_FDCWD, self) < 0)
		return fault(f, errno, "%s: set mark %#x", who, m->mask);
	flags |= m->mflags & FAN_MARK_IGNORED_SURV_MODIFY;
	flags |= m->mflags & FAN_MARK_IGNORE ? FAN_MARK_IGNORE : FAN_MARK_IGNORED_MASK;
	if (m->ignored_mask && fanotify_mark(fd, flags, m->ignored_mask, AT_FDCWD, self) < 0)
		return fault(f, errno, "%s: set ignored mark %#x", who, m->ignored_mask);
	return 0;
}

static int set_marks(struct files *fs, const struct file *file, struct fault *f)
{
	const FanotifyFileEntry *p = file->entry->ffy;
	char who[64];
	size_t i;

	snprintf(who, sizeof(who), "fanotify %u", file->id);
	for (i = 0; i < p->n_mark; i++)
		if (set_mark(fs, file->fd, who, p->mark[i], f) < 0)
			return -1;
	return 0;
}

static int installed(struct files *fs, struct fault *f)
{
	return files_each_created(fs, &fanotify_type, set_marks, f);
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->ffy->fown;
}

const struct file_type fanotify_type = {
	.name = "fanotify",
	.deed = "its marks are set again",
	.harmless = true,
	.type = FD_TYPES__FANOTIFY,
	.match = match,
	.dump = dump,
	.dump_done = watched_dump_done,
	.check = check,
	.create = create,
	.installed = installed,
	.fown = fown,
};
