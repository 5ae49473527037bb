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
#include "workers/files/epoll.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/identity.h"
#include "workers/files/locks.h"

static void add_obstacle(FilesPreflightDone *out, const struct fault *f)
{
	out->obstacle = xrealloc(out->obstacle, out->n_obstacle + 1, sizeof(char *));
	out->obstacle[out->n_obstacle++] = xstrdup(f->text);
}

static void glance_at(struct files *fs, const struct facts *x, FilesPreflightDone *out)
{
	const struct file_type *t = type_of_facts(x);
	struct fault why = { 0 };

	if (t->refuse)
		type_refuse(t, x, &why);
	else if (t->preflight)
		t->preflight(fs, x, &why);
	if (why.code)
		add_obstacle(out, &why);
}

static struct ahead *look_ahead(const struct probe *p, enum ahead_kind kind, const int *fds, size_t n)
{
	const struct ahead_place place = { p->pidfd, p->fd_dir, p->info_dir };

	return ahead_begin(&place, kind, fds, n);
}

/* Most programs use the lowest numbers: looked at while the kernel makes a list of those there are. */
static int glance_at_all(struct files *fs, struct probe *p, FilesPreflightDone *out, struct fault *f)
{
	size_t i, n, low = probe_count(p);
	AUTO_FREE int *numbers = xcalloc(low, sizeof(int)), *fds = NULL;
	struct ahead *ahead;
	int r;

	for (i = 0; i < low; i++)
		numbers[i] = i;
	ahead = look_ahead(p, AHEAD_LINKS, numbers, low);
	r = probe_list(p, &fds, &n, f);
	for (i = 0; i < n && r >= 0; i++) {
		bool guessed = (size_t)fds[i] < low;

		r = probe_glance(p, fds[i], guessed ? ahead_look(ahead, fds[i]) : NULL, f);
		if (r > 0)
			glance_at(fs, &p->x, out);
	}
	ahead_end(ahead);
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

/* A file not seen before. */
static int collect_file(struct files *fs, struct probe *p, struct fault *f)
{
	const struct file_type *t;

	if (probe_file(p, f) < 0)
		return -1;
	t = type_of_facts(&p->x);
	if (t->refuse)
		return type_refuse(t, &p->x, f);
	identity_set_type(fs, p->x.id, t->type);
	return t->dump(fs, &p->x, f);
}

static int collect_fd(struct files *fs, struct probe *p, const DumpTask *task, int fd,
		      struct look *look, struct image *img, struct fault *f)
{
	FdinfoEntry e = FDINFO_ENTRY__INIT;
	int is_new;

	if (probe_info(p, fd, look, f) < 0)
		return -1;
	is_new = identity_find(fs, &p->x, f);
	if (is_new < 0 || (is_new && collect_file(fs, p, f) < 0) ||
	    locks_note(fs, &p->x, task, p->info, f) < 0)
		return -1;
	epoll_note(fs, &p->x);
	e.id = p->x.id;
	e.flags = p->x.cloexec ? 1 : 0;
	e.type = identity_type(fs, p->x.id);
	e.fd = fd;
	return image_write(img, &e.base, f);
}

static int collect_fds(struct files *fs, struct probe *p, const DumpTask *task, const int *fds,
		       size_t n, struct image *img, struct fault *f)
{
	struct ahead *ahead = look_ahead(p, AHEAD_FILES, fds, n);
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++)
		r = collect_fd(fs, p, task, fds[i], ahead_look(ahead, i), img, f);
	ahead_end(ahead);
	return r;
}

int fdtable_collect(struct files *fs, const DumpTask *task, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	AUTO_PROBE struct probe p;
	AUTO_FREE int *fds = NULL;
	size_t n;

	if (probe_open(&p, task->pid, f) < 0 || probe_list(&p, &fds, &n, f) < 0)
		return -1;
	img = image_create(files_image_dir(fs), IMG_FDINFO, task->files_id, f);
	if (!img)
		return -1;
	if (collect_fds(fs, &p, task, fds, n, img, f) < 0)
		return -1;
	return image_close(&img, f);
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
		if (r < 0 || (r && collect_file(fs, &p, f) < 0))
			return fault_prefix(f, "in flight in a socket");
		ids[i] = p.x.id;
	}
	return 0;
}
