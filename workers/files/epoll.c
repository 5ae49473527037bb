/* SPDX-License-Identifier: MIT */
/*
 * epoll.c - poll sets, epoll_create(2), and what they watch.
 *
 * The kernel knows a watch by a file and the number it had when it was added; fdinfo shows
 * the number alone. Whether the number still leads to that file is asked of kcmp when all
 * descriptors are known. When it does not (closed, or used for another file), the watch gets
 * the number of a duplicate, as in CRIU's images; a file that no descriptor reaches is refused.
 *
 * Rule of both directions: a number is looked up in the first table that has both the
 * poll set and that number; when no table has the set, for it waits in a socket, in the first
 * that has the number.
 *
 * Restore:  when all tables are filled, the task adds the watches itself: signalfd reports the
 *           signals of the task that added it.
 * Rights:   ptrace access to the tasks (kcmp).
 * Holds:    dump: all descriptors' numbers and the poll sets, until the end of the collection.
 */
#include "workers/files/epoll.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"
#include "workers/files/anon.h"
#include "workers/files/epoll_flying.h"
#include "workers/files/files.h"
#include "workers/files/identity.h"
#include "workers/files/prepare.h"
#include "workers/files/socket.h"

#define GATE_TIMEOUT_MS 30000
/* What stays of the events of a watch that is switched off. */
#define KEPT (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)

struct note {
	pid_t pid;
	int fd;
	uint32_t id;
	bool first;			/* of its id */
	uint64_t socket;		/* the inode of a socket; 0: something else */
};

struct set {
	pid_t pid;
	int fd;
	char *who;
	FownEntry fown;
	EventpollFileEntry e;		/* its members are ours */
	bool flying;			/* in a socket's queue, no table has it */
};

struct epolls {
	struct note *note;
	size_t n, cap;
	struct set *set;
	size_t nsets, sets_cap;
	uint32_t last_id;
	uint32_t socket_dev;		/* of all sockets, as in fdinfo */
};

static struct epolls *epolls(struct files *fs)
{
	if (!fs->epolls)
		fs->epolls = xcalloc(1, sizeof(*fs->epolls));
	return fs->epolls;
}

static bool is_socket(FdTypes type)
{
	const struct file_type *t = type_of_entry(type);

	return t && socket_is(t);
}

void epoll_note(struct files *fs, const struct facts *x)
{
	struct epolls *s = epolls(fs);
	struct note *n = grow(&s->note, s->n++, &s->cap, sizeof(*n));

	/* Ids of descriptors are given out in the order they are met. */
	*n = (struct note){ x->pid, x->fd, x->id, x->id > s->last_id, 0 };
	if (n->first)
		s->last_id = x->id;
	if (!is_socket(identity_type(fs, x->id)))
		return;
	n->socket = x->st.st_ino;
	if (n->first)
		s->socket_dev = major(x->st.st_dev) << 20 | minor(x->st.st_dev);
}

/* Dump */

static bool match(const struct facts *x)
{
	return anon_is(x, "[eventpoll]");
}

static bool parse_watch(const char *line, EventpollTfdEntry *w)
{
	unsigned long long data, ino;
	long long pos;
	unsigned int dev;
	int n;

	eventpoll_tfd_entry__init(w);
	n = sscanf(line, "%u events: %x data: %llx pos:%lli ino:%llx sdev:%x", &w->tfd, &w->events,
		   &data, &pos, &ino, &dev);
	if (n != 3 && n != 6)
		return false;
	w->data = data;
	if (n == 3)
		return true;
	w->has_pos = w->has_inode = w->has_dev = true;
	w->pos = pos;
	w->inode = ino;
	w->dev = dev;
	return true;
}

static int parse(const struct facts *x, const char *info, EventpollFileEntry *e, struct fault *f)
{
	const char *line = info;
	EventpollTfdEntry *w;
	size_t cap = 0;

	while ((line = anon_field(line, "tfd")) != NULL) {
		w = xcalloc(1, sizeof(*w));
		*(EventpollTfdEntry **)grow(&e->tfd, e->n_tfd++, &cap, sizeof(w)) = w;
		if (!parse_watch(line, w))
			return anon_unknown(x, "watches", f);
		line = strchr(line, '\n');
	}
	return 0;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	AUTO_FREE char *info = anon_info(x, f);
	struct epolls *s = epolls(fs);
	char who[400];
	struct set *t;

	if (!info)
		return -1;
	t = grow(&s->set, s->nsets++, &s->sets_cap, sizeof(*t));
	*t = (struct set){ .pid = x->pid, .fd = x->fd, .fown = *x->fown };
	t->who = xstrdup(facts_name(x, who, sizeof(who)));
	eventpoll_file_entry__init(&t->e);
	t->e.id = x->id;
	t->e.flags = x->flags;
	return parse(x, info, &t->e, f);
}

/* How many watches before this one have its number: files are told apart by that. */
static uint32_t rank(const uint32_t *numbers, size_t at)
{
	uint32_t k = 0;
	size_t i;

	for (i = 0; i < at; i++)
		k += numbers[i] == numbers[at];
	return k;
}

/* Is it the file of the watch that descriptor fd of the task leads to? */
static bool leads(const struct set *t, const struct kcmp_epoll_slot *slot, pid_t pid, int fd)
{
	return syscall(SYS_kcmp, pid, t->pid, KCMP_EPOLL_TFD, fd, slot) == 0;
}

static bool has(const struct epolls *s, pid_t pid, int fd, uint32_t id)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (s->note[i].pid == pid && (fd < 0 || s->note[i].fd == fd) &&
		    (id == 0 || s->note[i].id == id))
			return true;
	return false;
}


/* Is a watch's own number good for it? */
static bool stands(const struct epolls *s, const struct set *t, const struct kcmp_epoll_slot *slot,
		   uint32_t number)
{
	size_t i = 0;

	if (!t->flying)
		return leads(t, slot, t->pid, number);
	while (i < s->n && (uint32_t)s->note[i].fd != number)
		i++;
	return i < s->n && leads(t, slot, s->note[i].pid, number);
}

/* Would a restore find the file of this descriptor under its number, and is no watch in the way? */
static bool usable(const struct epolls *s, const struct set *t, const struct note *d,
		   const uint32_t *numbers)
{
	pid_t before = 0;
	size_t i;

	for (i = 0; i < t->e.n_tfd; i++)
		if (numbers[i] == (uint32_t)d->fd || t->e.tfd[i]->tfd == (uint32_t)d->fd)
			return false;
	if (!t->flying && !has(s, d->pid, -1, t->e.id))
		return false;
	for (i = 0; i < s->n && s->note[i].pid != d->pid; i++) {
		if (s->note[i].pid == before)
			continue;
		before = s->note[i].pid;
		if ((t->flying || has(s, before, -1, t->e.id)) && has(s, before, d->fd, 0))
			return false;
	}
	return true;
}

/* Find a number for a watch whose own leads elsewhere. */
static int renumber(const struct epolls *s, const struct set *t, const struct kcmp_epoll_slot *slot,
		    const uint32_t *numbers, EventpollTfdEntry *w, struct fault *f)
{
	uint32_t id = 0;
	size_t i;

	for (i = 0; i < s->n && !id; i++)
		if (s->note[i].first && leads(t, slot, s->note[i].pid, s->note[i].fd))
			id = s->note[i].id;
	for (i = 0; i < s->n && id; i++) {
		if (s->note[i].id != id || !usable(s, t, &s->note[i], numbers))
			continue;
		w->tfd = s->note[i].fd;
		return 0;
	}
	return fault(f, -ENOTSUP, "%s: it watches a file as number %u, which is closed there or"
		     " another file by now%s: let the program take files out of the set before it"
		     " closes them", t->who, w->tfd, id ? ", and no other number can stand for it" :
		     ", and no task that is dumped has that file open");
}

/* The descriptors of a task: they are one after the other, in the order of their numbers. */
static const struct note *notes_of(const struct epolls *s, pid_t pid, size_t *n)
{
	size_t first = 0, end;

	while (first < s->n && s->note[first].pid != pid)
		first++;
	for (end = first; end < s->n && s->note[end].pid == pid; end++)
		;
	*n = end - first;
	return &s->note[first];
}

static int by_number(const void *a, const void *b)
{
	return ((const struct note *)a)->fd - ((const struct note *)b)->fd;
}

/*
 * Does the watch's own number lead to the socket it watches? A socket is opened once only, so its
 * inode tells; kcmp would take as long as there are watches, for each.
 */
static bool is_socket_there(const struct epolls *s, const struct note *notes, size_t n,
			    const EventpollTfdEntry *w)
{
	const struct note key = { .fd = w->tfd };
	const struct note *d = n ? bsearch(&key, notes, n, sizeof(*notes), by_number) : NULL;

	return d && d->socket && w->has_inode && w->inode == d->socket && w->dev == s->socket_dev;
}

/* Each watch of a set gets a number that leads to its file. */
static int resolve(const struct epolls *s, struct set *t, struct fault *f)
{
	AUTO_FREE uint32_t *numbers = xcalloc(t->e.n_tfd + 1, sizeof(*numbers));
	size_t i, n;
	const struct note *notes = notes_of(s, t->pid, &n);

	t->flying = !n;
	for (i = 0; i < t->e.n_tfd; i++)
		numbers[i] = t->e.tfd[i]->tfd;
	for (i = 0; i < t->e.n_tfd; i++) {
		struct kcmp_epoll_slot slot = { t->fd, numbers[i], 0 };

		if (is_socket_there(s, notes, n, t->e.tfd[i]))
			continue;
		slot.toff = rank(numbers, i);
		if (!stands(s, t, &slot, numbers[i]) &&
		    renumber(s, t, &slot, numbers, t->e.tfd[i], f) < 0)
			return -1;
	}
	return 0;
}

static int dump_done(struct files *fs, struct fault *f)
{
	struct epolls *s = epolls(fs);
	FileEntry e = FILE_ENTRY__INIT;
	size_t i;

	for (i = 0; i < s->nsets; i++) {
		struct set *t = &s->set[i];

		if (resolve(s, t, f) < 0)
			return -1;
		t->e.fown = &t->fown;
		e.type = FD_TYPES__EVENTPOLL;
		e.id = t->e.id;
		e.epfd = &t->e;
		if (files_write_entry(fs, &e, f) < 0)
			return -1;
	}
	return 0;
}

/* Restore */

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const EventpollFileEntry *p = file->entry->epfd;

	(void)fs;
	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete poll set", file->id);
	return 0;
}

static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	(void)fs;
	file->fd = epoll_create1(EPOLL_CLOEXEC);
	if (file->fd < 0)
		return fault(f, errno, "make poll set %u", file->id);
	return files_set_flags(file->fd, file->entry->epfd->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

/* A gate that acts on the table, NULL when no living task has it. */
static struct gate *gate_of(struct files *fs, const struct table *table)
{
	struct restore *r = fs->restore;
	size_t i;

	for (i = 0; i < r->ntasks; i++)
		if (r->task[i].table == table && r->task[i].gate)
			return r->task[i].gate;
	return NULL;
}

static bool table_has(const struct table *t, uint32_t fd)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (t->entry[i]->fd == fd)
			return true;
	return false;
}

/* Watches of one set that are added through one table. */
struct adding {
	const struct file *file;
	const struct fd_user *by;
	EventpollTfdEntry **watch;
	size_t n;
};

static int ctl_op(struct batch *b, const struct adding *a, int op, const EventpollTfdEntry *w,
		  uint32_t events)
{
	const struct epoll_event e = { .events = events, .data.u64 = w->data };

	return batch_op(b, 0, 0, SYS_epoll_ctl, 4, gc(a->by->entry->fd), gc(op), gc(w->tfd),
			ga(batch_put(b, &e, sizeof(e))));
}

static int ctl_failed(const struct adding *a, const EventpollTfdEntry *w, int64_t r,
		      struct fault *f)
{
	return fault(f, -r, "poll set %u (descriptor %u): watch descriptor %u", a->file->id,
		     a->by->entry->fd, w->tfd);
}

/*
 * A watch of EPOLLONESHOT that has reported is switched off, and only a report switches it
 * off: the file is watched for everything and, while nothing else is in the set, asked. When it
 * has nothing to report, the watch stays on for errors and hang-up, the least there is.
 */
static int add_switched_off(struct gate *g, const struct adding *a, const EventpollTfdEntry *w,
			    struct fault *f)
{
	const uint32_t all = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP;
	AUTO_BATCH struct batch *b = batch_begin(g);
	struct epoll_event *e;
	int ctl, wait;

	ctl = ctl_op(b, a, EPOLL_CTL_ADD, w, w->events | all);
	wait = batch_op(b, 0, 0, SYS_epoll_pwait, 6, gc(a->by->entry->fd),
			ga(batch_alloc(b, sizeof(*e), (void **)&e)), gc(1), gc(0), gc(0), gc(0));
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	if (batch_result(b, 0, ctl) < 0)
		return ctl_failed(a, w, batch_result(b, 0, ctl), f);
	if (batch_result(b, 0, wait) > 0)
		return 0;
	batch_reset(b);
	ctl = ctl_op(b, a, EPOLL_CTL_MOD, w, w->events);
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	return batch_result(b, 0, ctl) < 0 ? ctl_failed(a, w, batch_result(b, 0, ctl), f) : 0;
}

/* As many as fit the arena; returns how many. */
static long add_some(struct gate *g, const struct adding *a, size_t from, struct fault *f)
{
	AUTO_BATCH struct batch *b = batch_begin(g);
	size_t i, n = 0;

	while (from + n < a->n &&
	       batch_room(b) > 2 * (sizeof(struct gate_op) + sizeof(struct epoll_event) + 32)) {
		const EventpollTfdEntry *w = a->watch[from + n++];

		ctl_op(b, a, EPOLL_CTL_ADD, w, w->events);
	}
	if (batch_run(b, GATE_TIMEOUT_MS, f) < 0)
		return -1;
	for (i = 0; i < n; i++)
		if (batch_result(b, 0, i) < 0)
			return ctl_failed(a, a->watch[from + i], batch_result(b, 0, i), f);
	return n;
}

static int add_all(struct files *fs, struct adding *a, bool switched_off, struct fault *f)
{
	struct gate *g = gate_of(fs, a->by->table);
	size_t i;
	long n;

	if (!g)
		return fault(f, -EPROTO, "poll set %u: no task has table %u", a->file->id,
			     a->by->table->id);
	for (i = 0; i < a->n; i += n) {
		n = switched_off ? 1 : add_some(g, a, i, f);
		if (n < 0 || (switched_off && add_switched_off(g, a, a->watch[i], f) < 0))
			return -1;
	}
	return 0;
}

static bool is_off(const EventpollTfdEntry *w)
{
	return (w->events & EPOLLONESHOT) && !(w->events & ~(KEPT | EPOLLERR | EPOLLHUP));
}

/* The first table that has the set and the number. */
static const struct fd_user *user_of(const struct file *file, const EventpollTfdEntry *w)
{
	size_t i;

	for (i = 0; i < file->nusers; i++)
		if (table_has(file->users[i].table, w->tfd))
			return &file->users[i];
	return NULL;
}

/* The watches of a set, those that are switched off first: see add_switched_off. */
static int fill(struct files *fs, const struct file *file, struct fault *f)
{
	const EventpollFileEntry *e = file->entry->epfd;
	AUTO_FREE const struct fd_user **by = xcalloc(e->n_tfd + 1, sizeof(*by));
	AUTO_FREE EventpollTfdEntry **watch = xcalloc(e->n_tfd + 1, sizeof(*watch));
	size_t i, u;
	int on;

	if (!file->nusers)
		return epoll_fill_flying(fs, file, f);
	for (i = 0; i < e->n_tfd; i++) {
		by[i] = user_of(file, e->tfd[i]);
		if (!by[i])
			return fault(f, -EBADMSG, "files.img: poll set %u watches descriptor %u, "
				     "which no task that has the set has", file->id,
				     e->tfd[i]->tfd);
	}
	for (on = 0; on <= 1; on++) {
		for (u = 0; u < file->nusers; u++) {
			struct adding a = { file, &file->users[u], watch, 0 };

			for (i = 0; i < e->n_tfd; i++)
				if (by[i] == a.by && is_off(e->tfd[i]) == !on)
					watch[a.n++] = e->tfd[i];
			if (a.n && add_all(fs, &a, !on, f) < 0)
				return -1;
		}
	}
	return 0;
}

static int installed(struct files *fs, struct fault *f)
{
	return files_each_created(fs, &epoll_type, fill, f);
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->epfd->fown;
}

static void end(struct files *fs)
{
	struct epolls *s = fs->epolls;
	size_t i, k;

	for (i = 0; s && i < s->nsets; i++) {
		for (k = 0; k < s->set[i].e.n_tfd; k++)
			free(s->set[i].e.tfd[k]);
		free(s->set[i].e.tfd);
		free(s->set[i].who);
	}
	if (s) {
		free(s->note);
		free(s->set);
	}
	free(s);
	fs->epolls = NULL;
}

const struct file_type epoll_type = {
	.name = "poll set",
	.deed = "its watches are set again",
	.type = FD_TYPES__EVENTPOLL,
	.match = match,
	.dump = dump,
	.dump_done = dump_done,
	.check = check,
	.create = create,
	.installed = installed,
	.fown = fown,
	.end = end,
};
