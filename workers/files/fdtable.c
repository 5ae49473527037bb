/* SPDX-License-Identifier: MIT */
/*
 * fdtable.c - dump of descriptor tables.
 *
 * Before the freeze the links of /proc/PID/fd tell most of what cannot be dumped. With the
 * tasks frozen each descriptor is probed, recognised (identity.c) and, when it is a file not
 * seen before, given to the row of its type.
 *
 * Rights:   ptrace access to the tasks.
 * Holds:    nothing between messages.
 */
#include "workers/files/fdtable.h"

#include <errno.h>

#include "proto/control/util.h"
#include "workers/files/device.h"
#include "workers/files/epoll.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/identity.h"
#include "workers/files/kept.h"
#include "workers/files/locks.h"
#include "workers/files/owed.h"

static void add_obstacle(FilesPreflightDone *out, const struct fault *f)
{
	out->obstacle = xrealloc(out->obstacle, out->n_obstacle + 1, sizeof(char *));
	out->obstacle[out->n_obstacle++] = xstrdup(f->text);
}

static void glance_at(struct files *fs, const struct facts *x, FilesPreflightDone *out)
{
	const struct file_type *t = type_of_facts(x);
	struct fault why = { 0 };

	if (t->device)
		device_name(fs, t, x);
	else if (t->refuse)
		type_refuse(t, x, &why);
	else if (t->preflight)
		t->preflight(fs, x, &why);
	if (why.code)
		add_obstacle(out, &why);
}

/* The descriptors of a task, ascending, and what is seen of them ahead. */
struct survey {
	struct ahead *ahead;
	int *guess;		/* 0, 1, 2, ...: most programs use the lowest numbers */
	size_t nguess;		/* 0: this kernel does not tell how many there are */
	int *fds;		/* NULL: not listed (yet) */
	size_t n;
};

/* Many descriptors are looked at ahead. To be ended after a fault too. */
static int survey_begin(struct files *fs, struct survey *s, struct probe *p, enum ahead_kind kind,
			struct fault *f)
{
	struct ahead_place place = { p->pidfd, p->fd_dir, p->info_dir, probe_sock_mnt(p),
				     probe_sock_dev(p), owed_can(fs), NULL, 0 };
	size_t i;

	*s = (struct survey){ .nguess = probe_count(p) };
	place.kept = kind == AHEAD_LINKS ? kept_new(fs, p->pid, s->nguess, &place.nkept) :
					   kept_of(fs, p->pid, s->nguess, &place.nkept);
	s->guess = xcalloc(s->nguess, sizeof(int));
	for (i = 0; i < s->nguess; i++)
		s->guess[i] = i;
	s->ahead = ahead_begin(&place, kind, s->guess, s->nguess);
	if (s->nguess)
		return 0;
	if (probe_list(p, &s->fds, &s->n, f) < 0)
		return -1;
	s->ahead = ahead_begin(&place, kind, s->fds, s->n);
	return 0;
}

static struct look *survey_look(struct survey *s, int fd, size_t i)
{
	if (!s->nguess)
		return ahead_look(s->ahead, i);
	return (size_t)fd < s->nguess ? ahead_look(s->ahead, fd) : NULL;
}

/*
 * The descriptor at place i, into *fd. 0: there are no more, or -1. Where as many as there are have
 * the lowest numbers no list is needed.
 */
static int survey_next(struct survey *s, struct probe *p, size_t i, int *fd, struct fault *f)
{
	const struct look *l = s->fds || i >= s->nguess ? NULL : ahead_look(s->ahead, i);

	*fd = i;
	if (l && (l->info || l->link || l->socket))
		return 1;
	if (!s->fds && s->ahead && i == s->nguess)
		return 0;
	if (!s->fds && probe_list(p, &s->fds, &s->n, f) < 0)
		return -1;
	if (i >= s->n)
		return 0;
	*fd = s->fds[i];
	return 1;
}

static void survey_end(struct survey *s)
{
	ahead_end(s->ahead);
	free(s->guess);
	free(s->fds);
}

static int glance_at_all(struct files *fs, struct probe *p, FilesPreflightDone *out,
			 struct fault *f)
{
	struct survey s;
	int r = survey_begin(fs, &s, p, AHEAD_LINKS, f), fd, more = r == 0;
	size_t i;

	if (s.ahead)
		owed_ask(fs);
	for (i = 0; r >= 0 && more > 0; i++) {
		more = survey_next(&s, p, i, &fd, f);
		r = more > 0 ? probe_glance(p, fd, survey_look(&s, fd, i), f) : more;
		if (r > 0)
			glance_at(fs, &p->x, out);
	}
	survey_end(&s);
	return r < 0 ? -1 : 0;
}

int fdtable_preflight(struct files *fs, pid_t pid, FilesPreflightDone *out, struct fault *f)
{
	AUTO_PROBE struct probe p;
	struct fault gone = { 0 };

	if (probe_open(&p, pid, &gone) < 0)
		return gone.code == ENOENT || gone.code == ESRCH ? 0 :
			fault(f, -gone.code, "%s", gone.text);
	return glance_at_all(fs, &p, out, f);
}

/* A file not seen before. flying: it waits in a socket, where no gpu worker looks. */
static int collect_file(struct files *fs, struct probe *p, bool flying, struct fault *f)
{
	const struct file_type *t;

	if (probe_file(p, f) < 0)
		return -1;
	t = type_of_facts(&p->x);
	if (t->device && !flying) {
		identity_set_type(fs, p->x.id, device_type.type);
		return device_dump(fs, t, &p->x, f);
	}
	if (t->refuse)
		return type_refuse(t, &p->x, f);
	identity_set_type(fs, p->x.id, t->type);
	return t->dump(fs, &p->x, f);
}

static int collect_fd(struct files *fs, struct probe *p, const DumpTask *task, int fd,
		      struct look *look, struct table *table, struct fault *f)
{
	int is_new;

	if (probe_info(p, fd, look, f) < 0)
		return -1;
	is_new = identity_find(fs, &p->x, f);
	if (is_new < 0 || (is_new && collect_file(fs, p, false, f) < 0) ||
	    locks_note(fs, &p->x, task, p->info, f) < 0)
		return -1;
	epoll_note(fs, &p->x);
	table_add(fs, table, &p->x, identity_type(fs, p->x.id));
	return 0;
}

static int collect_fds(struct files *fs, struct probe *p, const DumpTask *task, struct table *table,
		       struct fault *f)
{
	struct survey s;
	int r = survey_begin(fs, &s, p, AHEAD_FILES, f), fd, more = r == 0;
	size_t i;

	for (i = 0; r == 0 && more; i++) {
		more = survey_next(&s, p, i, &fd, f);
		if (more < 0)
			r = -1;
		else if (more)
			r = collect_fd(fs, p, task, fd, survey_look(&s, fd, i), table, f);
	}
	survey_end(&s);
	return r;
}

int fdtable_collect(struct files *fs, const DumpTask *task, struct fault *f)
{
	AUTO_TABLE struct table *table = table_new(task);
	AUTO_PROBE struct probe p;

	if (probe_open(&p, task->pid, f) < 0 || collect_fds(fs, &p, task, table, f) < 0)
		return -1;
	return table_close(fs, take_ptr(&table), f);
}

/* Of a file that is in no table. */
static int refuse_locks(struct probe *p, struct fault *f)
{
	char who[400];

	if (!locks_shown(p->info))
		return 0;
	if (probe_file(p, f) < 0)
		return -1;
	return fault(f, -ENOTSUP, "%s has a lock, which images know by task and descriptor, but no task "
		     "has it as a descriptor: dump when it has been received",
		     facts_name(&p->x, who, sizeof(who)));
}

int fdtable_adopt(struct files *fs, const FilesAdopt *req, uint32_t *ids, struct fault *f)
{
	AUTO_PROBE struct probe p;
	size_t i;
	int r;

	if (probe_open(&p, req->pid, f) < 0)
		return -1;
	for (i = 0; i < req->n_fd; i++) {
		if (probe_info(&p, req->fd[i], NULL, f) < 0)
			return -1;
		r = identity_find(fs, &p.x, f);
		if (r < 0 || (r && (refuse_locks(&p, f) < 0 || collect_file(fs, &p, true, f) < 0)))
			return fault_prefix(f, "in flight in a socket");
		ids[i] = p.x.id;
	}
	return 0;
}
