/* SPDX-License-Identifier: MIT */
/*
 * tty.c - terminals: the row of the table, and the dump (tty_restore.c restores).
 *
 * An open file of a terminal is an entry in files.img; it refers to a reg file entry with its
 * path and to the terminal itself in tty-info.img. Both ends of a pty are terminals there:
 * a slave (index * 2) and a master (index * 2 + 1). Terminals are written last, when it
 * is known which masters the tree holds: a slave without one belongs to somebody else's
 * terminal, and needs --shell-job.
 *
 * Rights:   ptrace access to the tasks; CAP_SYS_ADMIN to open an exclusive terminal.
 * Holds:    dump: the terminals, and a duplicate of one file of each pty, until the end.
 */
#include "workers/files/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "proto/control/util.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/regular.h"
#include "workers/files/tty_ctty.h"
#include "workers/files/tty_kind.h"
#include "workers/files/tty_preflight.h"
#include "workers/files/tty_queue.h"
#include "workers/files/tty_restore.h"
#include "workers/files/tty_session.h"
#include "workers/files/tty_state.h"
#include "workers/files/tty_terms.h"

#define CRIU_MAX_INDEX 1000		/* of a pty; beyond, ids would meet those of other kinds */
#define FAR_IDS 4096
#define SPARE_IDS 2027			/* odd numbers from here on belong to no kind */

struct tty {
	const struct tty_kind *kind;
	TtyInfoEntry info;
	TtyPtyEntry pty;
	uint32_t real;		/* device number of what /dev/tty and /dev/console stand for */
	bool hung;
	int fd;				/* a duplicate of a pty's end, else -1 */
	char *who;			/* for faults: where it was met first */
};

struct ttys {
	struct tty *tty;
	size_t n, cap;
	struct pty_masters *masters;	/* of the preflight */
};

static struct ttys *get_ttys(struct files *fs)
{
	if (!fs->ttys)
		fs->ttys = xcalloc(1, sizeof(*fs->ttys));
	return fs->ttys;
}

static bool match(const struct facts *x)
{
	return S_ISCHR(x->st.st_mode) && !(x->flags & O_PATH) && tty_is_device(x->st.st_rdev);
}

static const struct tty_kind *kind_of(struct files *fs, const struct facts *x)
{
	if (tty_is_external(fs, x->st.st_rdev, x->st.st_dev))
		return &tty_external;
	return tty_kind_of(x->st.st_rdev);
}

static int refuse_kind(const struct facts *x, struct fault *f)
{
	char who[400];

	return fault(f, -ENOTSUP, "%s: a terminal (device %u:%u) that cannot be opened again by its"
		     " path; give it to the restore with --external 'tty[%llx:%llx]'",
		     facts_name(x, who, sizeof(who)), major(x->st.st_rdev), minor(x->st.st_rdev),
		     (unsigned long long)x->st.st_rdev, (unsigned long long)x->st.st_dev);
}

static int refuse_session(const char *who, uint32_t sid, struct fault *f)
{
	return fault(f, -ENOTSUP, "%s: the terminal belongs to session %u, whose leader is not in "
		     "the tree; use --shell-job to leave the terminal behind and take that of the "
		     "restore", who, sid);
}

static int refuse_alone(const char *who, struct fault *f)
{
	return fault(f, -ENOTSUP, "%s: the pty's master is outside of the tree; dump the tree that"
		     " holds it, or use --shell-job to leave the terminal behind and take that of"
		     " the restore", who);
}

/* While tasks run: is it a kind we know, and do its session and its master belong to the tree? */
static int preflight(struct files *fs, const struct facts *x, struct fault *f)
{
	const struct tty_kind *kind = kind_of(fs, x);
	struct fault gone = { 0 };
	uint32_t dev, sid, pgrp;
	char who[400];

	if (!kind)
		return refuse_kind(x, f);
	if (files_opts(fs)->shell_job || kind == &tty_external || kind->master ||
	    tty_session_of(x->pid, &dev, &sid, &pgrp, &gone) < 0)
		return 0;
	if ((kind->type == TTY_TYPE__CTTY ? dev : dev == x->st.st_rdev) && !tty_in_tree(fs, sid))
		return refuse_session(facts_name(x, who, sizeof(who)), sid, f);
	if (kind->slave && !link_deleted(x->link, NULL) &&
	    pty_is_alone(fs, &get_ttys(fs)->masters, x))
		return refuse_alone(facts_name(x, who, sizeof(who)), f);
	return 0;
}

static struct tty *find_tty(struct files *fs, const struct tty *like)
{
	struct ttys *s = fs->ttys;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct tty *t = &s->tty[i];

		if (t->kind == like->kind && t->info.rdev == like->info.rdev &&
		    t->info.dev == like->info.dev && t->pty.index == like->pty.index &&
		    t->real == like->real && t->hung == like->hung)
			return t;
	}
	return NULL;
}

static bool id_taken(const struct ttys *s, uint32_t id)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->tty[i].info.id == id)
			return true;
	return false;
}

static uint32_t choose_id(const struct ttys *s, const struct tty *t)
{
	uint32_t id = t->kind->image_id;

	if (!id)
		id = (t->pty.index > CRIU_MAX_INDEX ? FAR_IDS : 0) + t->pty.index * 2 +
		     t->kind->master;
	if (!id_taken(s, id))
		return id;
	for (id = SPARE_IDS; id_taken(s, id);)
		id += 2;
	return id;
}

/* What tells one terminal from another; the state comes later. */
static int recognise(struct files *fs, const struct facts *x, struct tty *t, struct fault *f)
{
	*t = (struct tty){ .kind = kind_of(fs, x), .fd = -1 };
	if (!t->kind)
		return refuse_kind(x, f);
	tty_info_entry__init(&t->info);
	tty_pty_entry__init(&t->pty);
	t->info.type = t->kind->type;
	t->info.rdev = x->st.st_rdev;
	t->info.dev = x->st.st_dev;
	t->info.has_dev = true;
	if (t->kind->slave)
		t->pty.index = minor(x->st.st_rdev);
	else if (t->kind->master && ioctl(x->dup, TIOCGPTN, &t->pty.index) < 0)
		return fault(f, errno, "read the number of the pty");
	t->hung = ioctl(x->dup, TIOCGDEV, &t->real) < 0 && errno == EIO;
	return 0;
}

/*
 * A shell takes its terminal back a moment after its job has ended; meanwhile the group in the
 * foreground has no task, and none can be put there again: TIOCSPGRP says ESRCH, and CRIU's restore
 * fails. The leader's group is what a session's new terminal has.
 */
static uint32_t group_or_leader(uint32_t group, uint32_t sid)
{
	return group && kill(-(pid_t)group, 0) < 0 && errno == ESRCH ? sid : group;
}

/* Session and foreground group, as far as this descriptor and this task can tell. */
static int read_session(const struct facts *x, struct tty *t, struct fault *f)
{
	uint32_t dev, sid, pgrp;
	int session, group;

	if (t->kind->master) {
		if (ioctl(x->dup, TIOCGSID, &session) == 0 &&
		    ioctl(x->dup, TIOCGPGRP, &group) == 0) {
			t->info.sid = session;
			t->info.pgrp = group_or_leader(group, session);
		}
		return 0;
	}
	if (tty_session_of(x->pid, &dev, &sid, &pgrp, f) < 0)
		return -1;
	if (dev && dev == t->real) {
		t->info.sid = sid;
		t->info.pgrp = group_or_leader(pgrp, sid);
	}
	return 0;
}

/* Met for the first time. */
static int add_tty(struct files *fs, const struct facts *x, struct tty *t, struct fault *f)
{
	char who[400];

	t->info.id = choose_id(fs->ttys, t);
	t->info.has_uid = t->info.has_gid = true;
	t->info.uid = x->st.st_uid;
	t->info.gid = x->st.st_gid;
	if (t->hung && !t->kind->slave && t->kind->type != TTY_TYPE__CTTY)
		return fault(f, -ENOTSUP, "the %s has hung up; close it", t->kind->name);
	if (t->kind->master || t->kind->slave) {
		t->fd = fcntl(x->dup, F_DUPFD_CLOEXEC, 0);
		if (t->fd < 0)
			return fault(f, errno, "duplicate it");
	}
	t->who = xstrdup(facts_name(x, who, sizeof(who)));
	*(struct tty *)grow(&fs->ttys->tty, fs->ttys->n, &fs->ttys->cap, sizeof(*t)) = *t;
	t = &fs->ttys->tty[fs->ttys->n++];
	if (!t->hung && tty_state_read(x->dup, t->kind->master, &t->info, f) < 0)
		return -1;
	return 0;
}

/*
 * The path of a slave is written as it is: devpts makes and removes it, and that of somebody
 * else's terminal may not even be visible.
 */
static int dump_slave_path(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *path = xstrdup(x->link);
	RegFileEntry r = REG_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	size_t len;

	if (link_deleted(path, &len))
		path[len] = '\0';
	r.id = x->id;
	r.flags = x->flags;
	r.fown = x->fown;
	r.name = path;
	r.has_mode = true;
	r.mode = x->st.st_mode;
	e.type = FD_TYPES__REG;
	e.id = x->id;
	e.reg = &r;
	return files_write_entry(fs, &e, f);
}

static int dump_path(struct files *fs, const struct facts *x, const struct tty *t, TtyFileEntry *e,
		     struct fault *f)
{
	struct facts named = *x;

	if (t->kind == &tty_external)
		return 0;
	named.id = files_new_id(fs);
	e->has_regf_id = true;
	e->regf_id = named.id;
	return t->kind->slave ? dump_slave_path(fs, &named, f) : regular_dump(fs, &named, f);
}

static int dump_file(struct files *fs, const struct facts *x, struct fault *f)
{
	TtyFileEntry tty = TTY_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	struct tty now, *t;

	get_ttys(fs);
	if (recognise(fs, x, &now, f) < 0)
		return -1;
	t = find_tty(fs, &now);
	if (!t) {
		if (add_tty(fs, x, &now, f) < 0)
			return -1;
		t = &fs->ttys->tty[fs->ttys->n - 1];
	}
	if (!t->hung && !t->info.sid && read_session(x, t, f) < 0)
		return -1;
	tty.id = x->id;
	tty.tty_info_id = t->info.id;
	tty.flags = x->flags;
	tty.fown = x->fown;
	if (dump_path(fs, x, t, &tty, f) < 0)
		return -1;
	e.type = FD_TYPES__TTY;
	e.id = x->id;
	e.tty = &tty;
	return files_write_entry(fs, &e, f);
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	char who[400];

	if (dump_file(fs, x, f) == 0)
		return 0;
	return strncmp(f->text, "task ", 5) == 0 ? -1 :
	       fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
}

/* All terminals are known */

static struct tty *master_of(struct ttys *s, const struct tty *slave)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->tty[i].kind->master && s->tty[i].pty.index == slave->pty.index)
			return &s->tty[i];
	return NULL;
}

static struct tty *slave_of(struct ttys *s, const struct tty *master)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->tty[i].kind->slave && !s->tty[i].hung &&
		    s->tty[i].pty.index == master->pty.index)
			return &s->tty[i];
	return NULL;
}

/* Another name of the same terminal, that a restore can open. */
static struct tty *behind_ctty(struct ttys *s, const struct tty *ctty)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->tty[i].kind->type != TTY_TYPE__CTTY && s->tty[i].real == ctty->real &&
		    !s->tty[i].hung)
			return &s->tty[i];
	if (!tty_kind_of(ctty->real) || !tty_kind_of(ctty->real)->slave)
		return NULL;
	for (i = 0; i < s->n; i++)
		if (s->tty[i].kind->master && s->tty[i].pty.index == minor(ctty->real))
			return &s->tty[i];
	return NULL;
}

/*
 * /dev/tty can be opened again only in the terminal's session. When that is no more, a restore
 * makes one for the moment, if it knows the terminal.
 */
static int verify_ctty(struct files *fs, struct tty *t, struct fault *f)
{
	const struct tty *real = behind_ctty(fs->ttys, t);

	if (!t->info.sid && real) {
		t->info.sid = real->info.sid;
		t->info.pgrp = real->info.pgrp;
	}
	if (!t->info.sid && real) {
		t->info.has_behind = true;
		t->info.behind = real->info.id;
	}
	if (!real && !files_opts(fs)->shell_job)
		return fault(f, -ENOTSUP, "%s: the terminal behind it (session %u) is not open in "
			     "the tree; dump the tree that holds its master, or use --shell-job to "
			     "take that of the restore", t->who, t->info.sid);
	return 0;
}

/* Before anything is written: can all of them be restored? */
static int verify(struct files *fs, struct fault *f)
{
	const bool shell_job = files_opts(fs)->shell_job;
	const struct tty *alone = NULL;
	struct ttys *s = fs->ttys;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct tty *t = &s->tty[i];

		if (t->hung || t->kind == &tty_external)
			continue;
		if (t->info.sid && !shell_job && !tty_in_tree(fs, t->info.sid))
			return refuse_session(t->who, t->info.sid, f);
		if (t->kind->type == TTY_TYPE__CTTY && verify_ctty(fs, t, f) < 0)
			return -1;
		if (!t->kind->slave || master_of(s, t))
			continue;
		if (!shell_job)
			return refuse_alone(t->who, f);
		if (alone)
			return fault(f, -ENOTSUP, "%s: its master is outside of the tree like that "
				     "of %.150s; --shell-job can replace one terminal only", t->who,
				     alone->who);
		alone = t;
	}
	return 0;
}

static int write_data(struct image *img, uint32_t id, unsigned char *bytes, size_t n,
		      struct fault *f)
{
	TtyDataEntry e = TTY_DATA_ENTRY__INIT;

	if (!n)
		return 0;
	e.tty_id = id;
	e.data.data = bytes;
	e.data.len = n;
	return image_write(img, &e.base, f);
}

/*
 * Another opening of the slave, to read and write there. A slave that was never open is left
 * so, -1 with f untouched: closing it again would hang up the master.
 */
static int open_slave(const struct tty *master, const struct tty *slave, struct fault *f)
{
	struct pollfd p = { .fd = master->fd };
	const int on = 1, off = 0;
	int fd;

	if (!slave && (poll(&p, 1, 0) < 0 || !(p.revents & POLLHUP)))
		return -1;
	if (master->info.locked && ioctl(master->fd, TIOCSPTLCK, &off) < 0)
		return fault(f, errno, "%s: unlock it", master->who);
	fd = ioctl(master->fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		fault(f, errno, "%s: open its slave", master->who);
	if (master->info.locked && ioctl(master->fd, TIOCSPTLCK, &on) < 0)
		fault(f, errno, "%s: lock it", master->who);
	return fd;
}

/* What the slave's end holds cannot be stored when no slave is in the image. */
static int dump_queues(struct image *img, const struct tty *master, const struct tty *slave,
		       struct fault *f)
{
	AUTO_CLOSE int fd = open_slave(master, slave, f);
	struct tty_queues q = { 0 };
	int r;

	if (fd < 0)
		return f->code ? -1 : 0;
	r = tty_queues_copy(master->fd, fd, &q, f);
	if (r == 0)
		r = write_data(img, master->info.id, q.to_master, q.nmaster, f);
	if (r == 0 && slave)
		r = write_data(img, slave->info.id, q.to_slave, q.nslave, f);
	tty_queues_free(&q);
	return r;
}

static int write_infos(struct files *fs, struct image *img, struct fault *f)
{
	struct ttys *s = fs->ttys;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct tty *t = &s->tty[i];

		t->info.pty = t->kind->master || t->kind->slave ? &t->pty : NULL;
		if (image_write(img, &t->info.base, f) < 0)
			return -1;
	}
	return 0;
}

static int dump_done(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *info = NULL;
	AUTO_IMAGE struct image *data = NULL;
	size_t i;

	if (!fs->ttys || !fs->ttys->n)
		return 0;
	if (verify(fs, f) < 0)
		return -1;
	info = image_create(files_image_dir(fs), IMG_TTY_INFO, 0, f);
	data = info ? image_create(files_image_dir(fs), IMG_TTY_DATA, 0, f) : NULL;
	if (!data || write_infos(fs, info, f) < 0 || image_close(&info, f) < 0)
		return -1;
	for (i = 0; i < fs->ttys->n; i++) {
		const struct tty *t = &fs->ttys->tty[i];

		if (t->kind->master && dump_queues(data, t, slave_of(fs->ttys, t), f) < 0)
			return -1;
	}
	return image_close(&data, f);
}

static void end(struct files *fs)
{
	struct ttys *s = fs->ttys;
	size_t i;

	for (i = 0; s && i < s->n; i++) {
		tty_state_free(&s->tty[i].info);
		auto_close(&s->tty[i].fd);
		free(s->tty[i].who);
	}
	if (s) {
		pty_masters_free(s->masters);
		free(s->tty);
	}
	free(s);
	fs->ttys = NULL;
	terms_end(fs);
}

const struct file_type tty_type = {
	.name = "terminal",
	.deed = "stored with its settings and pending input",
	.type = FD_TYPES__TTY,
	.match = match,
	.preflight = preflight,
	.dump = dump,
	.dump_done = dump_done,
	.prepare = tty_prepare,
	.check = tty_check,
	.create = tty_create,
	.installed = tty_installed,
	.fown = tty_fown,
	.end = end,
};
