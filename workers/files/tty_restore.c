/* SPDX-License-Identifier: MIT */
/*
 * tty_restore.c - terminals: restore.
 *
 * The master of a pty is opened until the kernel gives it the old index, then its slaves by
 * their paths. A slave whose master is not in the tree stands for the terminal of the restore
 * (--shell-job). A slave that had hung up is opened and hung up again. Controlling terminals are
 * tty_ctty.c's.
 *
 * Rights:   CAP_SYS_ADMIN to hang up and to lock; CAP_CHOWN and CAP_FOWNER for owner and mode.
 * Holds:    nothing but what the images say (tty_terms.c).
 */
#include "workers/files/tty_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/files/files.h"
#include "workers/files/regular.h"
#include "workers/files/tty_ctty.h"
#include "workers/files/tty_kind.h"
#include "workers/files/tty_queue.h"
#include "workers/files/tty_session.h"
#include "workers/files/tty_state.h"
#include "workers/files/tty_terms.h"

#define INDEX_RETRIES 50		/* somebody may hold the index for a moment */
#define INDEX_WAIT_US 2000

/* Opening */

static struct file *named(struct files *fs, const struct file *file)
{
	return files_find(fs, file->entry->tty->regf_id);
}

/*
 * Open the path of a terminal. Its mode is set, not compared: devpts makes nodes as it is
 * mounted, and programs change them.
 */
static int open_path(struct files *fs, struct file *file, int flags, struct fault *f)
{
	struct file *path = named(fs, file);
	RegFileEntry *r = path->entry->reg;
	const bool has_mode = r->has_mode;
	struct stat st;
	int fd;

	r->has_mode = false;
	fd = regular_open(fs, path, flags | O_NOCTTY, f);
	r->has_mode = has_mode;
	if (fd >= 0 && has_mode && fstat(fd, &st) == 0 && st.st_mode != r->mode &&
	    fchmod(fd, r->mode & 07777) < 0)
		log_warnx("%s keeps its mode %#o: %s", r->name, st.st_mode, strerror(errno));
	return fd;
}

static int open_flags(struct files *fs, const struct file *file)
{
	return regular_open_flags(named(fs, file)->entry->reg);
}

static int set_owner(const struct term *t, int fd, struct fault *f)
{
	const TtyInfoEntry *e = t->info;
	struct stat st;

	if (!e->has_uid || !e->has_gid || fstat(fd, &st) < 0 ||
	    (st.st_uid == e->uid && st.st_gid == e->gid))
		return 0;
	if (fchown(fd, e->uid, e->gid) < 0)
		return fault(f, errno, "terminal %u: give it to user %u and group %u", e->id,
			     e->uid, e->gid);
	return 0;
}

/* Hand a descriptor to a file of the image, with its flags. Takes fd. */
static int give(struct file *file, int fd, bool hung, struct fault *f)
{
	uint32_t flags = file->entry->tty->flags;

	file->fd = fd;
	return files_set_flags(fd, hung ? flags & ~O_ASYNC : flags, f);
}

/* Another master. file: that of the image; NULL: it has none. */
static int open_ptmx(struct files *fs, struct file *file, struct fault *f)
{
	int fd;

	if (file)
		return open_path(fs, file, O_RDWR, f);
	fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? fault(f, errno, "open /dev/ptmx") : fd;
}

/* Open masters until one has the index; the kernel gives the lowest free one. -1: it is taken. */
static int try_index(struct files *fs, struct file *file, uint32_t index, struct fault *f)
{
	AUTO_FREE int *lower = NULL;
	size_t n = 0, cap = 0;
	uint32_t got;
	int fd;

	for (;;) {
		fd = open_ptmx(fs, file, f);
		if (fd < 0 || ioctl(fd, TIOCGPTN, &got) < 0 || got >= index)
			break;
		*(int *)grow(&lower, n++, &cap, sizeof(int)) = fd;
	}
	if (fd >= 0 && got != index) {
		close(fd);
		fd = -1;
	}
	while (n)
		close(lower[--n]);
	return fd;
}

/* An unlocked master with that index, which another restore may hold for a moment. */
static int open_index(struct files *fs, struct file *file, uint32_t index, struct fault *f)
{
	const int off = 0;
	int tries, fd = -1;

	for (tries = 0; tries < INDEX_RETRIES && fd < 0 && !f->code; tries++) {
		if (tries)
			usleep(INDEX_WAIT_US);
		fd = try_index(fs, file, index, f);
	}
	if (fd < 0)
		return fault(f, -EBUSY, "pty %u is in use: whoever holds /dev/pts/%u must close it"
			     " before the restore", index, index);
	if (ioctl(fd, TIOCSPTLCK, &off) < 0) {
		fault(f, errno, "unlock pty %u", index);
		close(fd);
		return -1;
	}
	return fd;
}

/* The slaves that had hung up: all opened, then hung up together by the caller. */
static int open_hung(struct files *fs, struct term *t, int master, struct fault *f)
{
	size_t i;
	int fd;

	for (i = 0; i < t->nfiles; i++) {
		const int flags = O_NOCTTY | O_CLOEXEC | O_NONBLOCK;

		fd = ioctl(master, TIOCGPTPEER, (open_flags(fs, t->file[i]) & O_ACCMODE) | flags);
		if (fd < 0)
			return fault(f, errno, "open slave %u", t->info->pty->index);
		if (give(t->file[i], fd, true, f) < 0)
			return -1;
	}
	return 0;
}

/* Slaves that hung up while their master lives on: before anybody else opens a slave. */
static int hang_up_before(struct files *fs, struct term *master, int fd, struct fault *f)
{
	size_t i;

	for (i = 0; i < fs->terms->n; i++) {
		struct term *t = &fs->terms->term[i];

		if (!t->hung || !t->nfiles || !t->info->pty ||
		    t->info->pty->index != master->info->pty->index)
			continue;
		if (open_hung(fs, t, fd, f) < 0)
			return -1;
		if (ioctl(t->file[0]->fd, TIOCVHANGUP) < 0)
			return fault(f, errno, "hang up slave %u", t->info->pty->index);
	}
	return 0;
}

/* Unread bytes of both ends, through an opening of the slave that nobody gets. */
static int fill(struct files *fs, struct term *t, int master, struct fault *f)
{
	const struct term *slave = terms_slave_of(fs, t);
	struct tty_queues q = { 0 };
	AUTO_CLOSE int fd = -1;

	if (t->data) {
		q.to_master = t->data->data.data;
		q.nmaster = t->data->data.len;
	}
	if (slave && slave->data) {
		q.to_slave = slave->data->data.data;
		q.nslave = slave->data->data.len;
	}
	if (!q.nmaster && !q.nslave)
		return 0;
	fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return fault(f, errno, "open the slave of pty %u", t->info->pty->index);
	return tty_queues_put(master, fd, &q, f);
}

static int make_master(struct files *fs, struct term *t, struct file *file, struct fault *f)
{
	AUTO_CLOSE int fd = open_index(fs, file, t->info->pty->index, f);

	if (fd < 0 || set_owner(t, fd, f) < 0 || hang_up_before(fs, t, fd, f) < 0 ||
	    tty_state_apply(fd, t->info, f) < 0 || fill(fs, t, fd, f) < 0)
		return -1;
	return give(file, take_fd(&fd), false, f);
}

/* Has any task a descriptor of this master? */
static bool is_held(const struct term *master)
{
	return master->nfiles && master->file[0]->nusers;
}

/* May anybody have it: is it held, or waits it in a socket? */
static bool is_wanted(const struct term *master)
{
	return is_held(master) || (master->nfiles && master->file[0]->lent);
}

/*
 * The masters up to an index, lowest first: then there are seldom free ones below the next, each of
 * which would have to be opened for it.
 */
static enum created create_master(struct files *fs, const struct term *until, struct fault *f)
{
	struct terms *s = fs->terms;
	struct term *t;

	for (; s->nmade < s->nmasters; s->nmade++) {
		t = s->master[s->nmade];
		if (t->info->pty->index > until->info->pty->index)
			break;
		if (is_wanted(t) && make_master(fs, t, t->file[0], f) < 0)
			return CREATE_FAILED;
	}
	return CREATED;
}

/* Its master is gone: one is made, and closed again when all slaves are open. */
static enum created create_hung(struct files *fs, struct term *t, struct file *file,
				struct fault *f)
{
	const struct term *live = terms_master_of(fs, t);
	AUTO_CLOSE int master = -1;

	if (file->fd >= 0)
		return CREATED;
	if (live && is_held(live))
		return CREATE_LATER;
	master = open_index(fs, NULL, t->info->pty->index, f);
	if (master < 0)
		return CREATE_FAILED;
	return open_hung(fs, t, master, f) < 0 ? CREATE_FAILED : CREATED;
}

/* Is fd the slave with that index? */
static bool is_slave(int fd, uint32_t index)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && minor(st.st_rdev) == index &&
	       tty_kind_of(st.st_rdev) && tty_kind_of(st.st_rdev)->slave;
}

/* By its path; when that leads elsewhere now, through the master. */
static int open_slave(struct files *fs, struct term *t, struct file *file, int master,
		      struct fault *f)
{
	const uint32_t index = t->info->pty->index;
	struct fault no_path = { 0 };
	int fd;

	fd = open_path(fs, file, open_flags(fs, file), &no_path);
	if (fd >= 0 && is_slave(fd, index))
		return fd;
	auto_close(&fd);
	fd = ioctl(master, TIOCGPTPEER, open_flags(fs, file) | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? fault(f, errno, "open slave %u", index) : fd;
}

static enum created create_slave(struct files *fs, struct term *t, struct file *file,
				 struct fault *f)
{
	const struct term *master = terms_master_of(fs, t);
	AUTO_CLOSE int fd = -1;

	if (!is_held(master))
		return fault(f, -EBADMSG, "nobody holds the master of slave %u",
			     t->info->pty->index);
	if (!master->file[0]->created)
		return CREATE_LATER;
	fd = open_slave(fs, t, file, master->file[0]->fd, f);
	if (fd < 0 || set_owner(t, fd, f) < 0)
		return CREATE_FAILED;
	return give(file, take_fd(&fd), false, f) < 0 ? CREATE_FAILED : CREATED;
}

/* Is this the first file of the terminal that is made? */
static bool is_first(const struct term *t)
{
	size_t i;

	for (i = 0; i < t->nfiles; i++)
		if (t->file[i]->created)
			return false;
	return true;
}

/*
 * A descriptor that came from outside, its flags and all; further files of the image are further
 * openings of it.
 */
static enum created create_given(struct term *t, struct file *file, int given, struct fault *f)
{
	AUTO_CLOSE int fd = -1;

	if (is_first(t)) {
		fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return fault(f, errno, "duplicate the terminal given");
		if (set_owner(t, fd, f) < 0 || tty_state_apply(fd, t->info, f) < 0)
			return CREATE_FAILED;
	} else {
		fd = files_reopen(given, file->entry->tty->flags & O_ACCMODE, f);
		if (fd < 0)
			return CREATE_FAILED;
	}
	return give(file, take_fd(&fd), false, f) < 0 ? CREATE_FAILED : CREATED;
}

static enum created create_simple(struct files *fs, struct term *t, struct file *file,
				  struct fault *f)
{
	AUTO_CLOSE int fd = open_path(fs, file, open_flags(fs, file), f);
	const struct tty_kind *kind;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return CREATE_FAILED;
	kind = tty_kind_of(st.st_rdev);
	if (!S_ISCHR(st.st_mode) || !kind || kind->type != t->info->type)
		return fault(f, -ENODEV, "%s is no %s any more", named(fs, file)->entry->reg->name,
			     t->kind->name);
	if (is_first(t) && (set_owner(t, fd, f) < 0 || tty_state_apply(fd, t->info, f) < 0))
		return CREATE_FAILED;
	return give(file, take_fd(&fd), false, f) < 0 ? CREATE_FAILED : CREATED;
}

/* The terminal of the restore: openings of their own, so that the shell's flags stay. */
static enum created create_inherited(struct files *fs, struct term *t, struct file *file,
				     struct fault *f)
{
	const struct setting *set = &fs->worker->set;
	const uint32_t at = set->opts->tty_fd_index;
	struct fault closed = { 0 };
	AUTO_CLOSE int fd = -1;

	if (at >= set->nfds)
		return fault(f, -EPROTO, "the terminal of the restore was not passed");
	fd = files_reopen(set->fds[at], file->entry->tty->flags & O_ACCMODE, &closed);
	if (fd < 0)
		return create_given(t, file, set->fds[at], f);
	if (is_first(t) && (set_owner(t, fd, f) < 0 || tty_state_apply(fd, t->info, f) < 0))
		return CREATE_FAILED;
	return give(file, take_fd(&fd), false, f) < 0 ? CREATE_FAILED : CREATED;
}

/* /dev/tty */

static enum created create_lone_ctty(struct files *fs, struct term *t, struct file *file,
				     struct fault *f)
{
	const char *path = named(fs, file)->entry->reg->name;
	const int flags = open_flags(fs, file);
	int fd = ctty_open_lone(fs, t, path, flags, f);

	if (fd < 0)
		return f->code ? CREATE_FAILED : CREATE_LATER;
	return give(file, fd, t->hung, f) < 0 ? CREATE_FAILED : CREATED;
}

/* /dev/tty must be opened inside its session, or, when that is the restore's own, here. */
static enum created create_ctty(struct files *fs, struct term *t, struct file *file,
				struct fault *f)
{
	const char *path = named(fs, file)->entry->reg->name;
	const uint32_t sid = t->info->sid;
	struct term *real = sid ? terms_controlling(fs, sid) : NULL;
	AUTO_CLOSE int fd = -1;

	if (real) {
		if (terms_fd(real) < 0)
			return CREATE_LATER;
		if (ctty_set(fs, real, sid, real->info->pgrp, f) < 0)
			return CREATE_FAILED;
		fd = tty_session_open(fs, sid, path, open_flags(fs, file) | O_NOCTTY, f);
	} else if (files_opts(fs)->shell_job) {
		fd = open_path(fs, file, open_flags(fs, file), f);
	} else {
		return fault(f, -ENOENT, "the images hold no terminal of session %u, which %s stood"
			     " for: restore with --shell-job to use yours", sid, path);
	}
	if (fd < 0)
		return CREATE_FAILED;
	return give(file, take_fd(&fd), false, f) < 0 ? CREATE_FAILED : CREATED;
}

enum created tty_create(struct files *fs, struct file *file, struct fault *f)
{
	struct term *t = terms_by_id(fs, file->entry->tty->tty_info_id);

	if (t->given >= 0)
		return create_given(t, file, t->given, f);
	if (t->info->type == TTY_TYPE__CTTY && (t->hung || t->info->has_behind))
		return create_lone_ctty(fs, t, file, f);
	if (t->hung)
		return create_hung(fs, t, file, f);
	if (t->inherits)
		return create_inherited(fs, t, file, f);
	if (t->kind->master)
		return create_master(fs, t, f);
	if (t->kind->slave)
		return create_slave(fs, t, file, f);
	if (t->info->type == TTY_TYPE__CTTY)
		return create_ctty(fs, t, file, f);
	return create_simple(fs, t, file, f);
}

const FownEntry *tty_fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->tty->fown;
}
