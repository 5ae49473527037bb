/* SPDX-License-Identifier: MIT */
/*
 * tty_ctty.c - controlling terminals: restore.
 *
 * They are set when the first /dev/tty asks for them, at the latest when all tables are filled. A
 * /dev/tty whose session is no more, or whose terminal has hung up, is opened in a session that
 * lasts as long as the call.
 *
 * Rights:   see tty_session.c.
 * Holds:    nothing but what the images say (tty_terms.c).
 */
#include "workers/files/tty_ctty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"
#include "workers/files/files.h"
#include "workers/files/prepare.h"
#include "workers/files/tty_session.h"
#include "workers/files/tty_state.h"

/* Of a pty the slave is needed, whether it has users or not. */
int ctty_set(struct files *fs, struct term *t, uint32_t sid, uint32_t pgrp, struct fault *f)
{
	AUTO_CLOSE int peer = -1;
	int fd = terms_fd(t);

	if (t->has_session || fd < 0)
		return 0;
	t->has_session = true;
	if (t->kind->master && t->given < 0) {
		fd = peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (peer < 0)
			return fault(f, errno, "open the slave of pty %u", t->info->pty->index);
	}
	return tty_session_set(fs, sid, pgrp, fd, f);
}

/* Are all files of ptys made, which need their numbers? */
static bool ptys_made(struct files *fs)
{
	size_t i, k;

	for (i = 0; i < fs->terms->n; i++) {
		const struct term *t = &fs->terms->term[i];

		for (k = 0; t->info->pty && k < t->nfiles; k++)
			if (t->file[k]->nusers && !t->file[k]->created)
				return false;
	}
	return true;
}

/*
 * /dev/tty whose terminal has hung up: that of a pty made for it alone, whose master then goes; the
 * number stays taken. -1 without fault: it is not its turn yet.
 */
static int open_hung_ctty(struct files *fs, const char *path, int flags, struct fault *f)
{
	AUTO_CLOSE int master = -1;
	AUTO_CLOSE int slave = -1;
	const int off = 0;

	if (!ptys_made(fs))
		return -1;
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master >= 0 && ioctl(master, TIOCSPTLCK, &off) == 0)
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return fault(f, errno, "make a pty for a terminal that has hung up");
	return tty_session_borrow(slave, path, flags, f);
}

/* Its session is no more, its terminal is. -1 without fault: that is not open yet. */
static int open_behind(struct files *fs, const struct term *t, const char *path, int flags,
		       struct fault *f)
{
	struct term *real = terms_by_id(fs, t->info->behind);
	const int fd = terms_fd(real);
	AUTO_CLOSE int peer = -1;

	if (fd < 0)
		return -1;
	if (!real->kind->master || real->given >= 0)
		return tty_session_borrow(fd, path, flags, f);
	peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return peer < 0 ? fault(f, errno, "open the slave of pty %u", real->info->pty->index) :
			  tty_session_borrow(peer, path, flags, f);
}

int ctty_open_lone(struct files *fs, const struct term *t, const char *path, int flags,
		   struct fault *f)
{
	return t->hung ? open_hung_ctty(fs, path, flags, f) : open_behind(fs, t, path, flags, f);
}

static int set_sessions(struct files *fs, struct fault *f)
{
	const bool shell_job = files_opts(fs)->shell_job;
	size_t i;

	for (i = 0; i < fs->terms->n; i++) {
		const TtyInfoEntry *e = fs->terms->term[i].info;
		struct term *t = e->sid ? terms_controlling(fs, e->sid) : NULL;

		if (!t || (shell_job && !files_gate(fs, e->sid)))
			continue;
		if (ctty_set(fs, t, e->sid, e->pgrp, f) < 0)
			return -1;
	}
	return 0;
}

/* The task whose parent is not one of ours. */
static int find_root(struct files *fs, struct proc_stat *s, struct fault *f)
{
	size_t i;

	for (i = 0; i < fs->restore->ntasks; i++) {
		if (procfs_stat(fs->restore->task[i].pid, 0, s, f) < 0)
			return -1;
		if (!prepare_task(fs, s->ppid))
			return 0;
	}
	return fault(f, -EPROTO, "the tree has no root");
}

/*
 * Keys of the terminal go to the restored job from now on, when it is a process group of its own.
 * We may be in the background: SIGTTOU must not stop us.
 */
static int bring_to_front(struct files *fs, int fd, struct fault *f)
{
	struct proc_stat root;
	sigset_t ttou, old;
	int group, r, err;

	if (find_root(fs, &root, f) < 0)
		return -1;
	if (root.sid == root.pid || root.pgid != root.pid)
		return 0;
	group = root.pgid;
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &old);
	r = ioctl(fd, TIOCSPGRP, &group);
	err = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		log_warnx("process group %d is not in the foreground of the terminal: %s", group,
			  strerror(err));
	return 0;
}

int tty_installed(struct files *fs, struct fault *f)
{
	size_t i;

	if (!fs->terms)
		return 0;
	if (set_sessions(fs, f) < 0)
		return -1;
	for (i = 0; i < fs->terms->n; i++) {
		const struct term *t = &fs->terms->term[i];
		const int fd = terms_fd(t);

		if (fd < 0 || t->hung || t->given >= 0)
			continue;
		if (t->inherits ? bring_to_front(fs, fd, f) < 0 :
		    tty_modes_apply(fd, t->info, t->kind->master, f) < 0)
			return -1;
	}
	return 0;
}
