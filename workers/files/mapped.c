/* SPDX-License-Identifier: MIT */
/*
 * mapped.c - files that are mapped, and executables: entries in files.img at dump, open
 * descriptors in the tasks at restore.
 *
 * What is mapped is known by the mem worker alone; it chooses the ids (0x40000000 and up)
 * and closes the descriptors in the task when it has mapped them.
 *
 * Rights:   ptrace access to the tasks; CAP_CHECKPOINT_RESTORE for /proc/PID/map_files.
 * Holds:    nothing between messages.
 */
#include "workers/files/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/install.h"
#include "workers/files/regular.h"

/* Dump */

static int dump_one(struct files *fs, struct probe *p, const MappedFile *m, struct fault *f)
{
	const struct file_type *t;
	char name[64], who[400];

	if (m->has_start)
		snprintf(name, sizeof(name), "map_files/%llx-%llx", (unsigned long long)m->start,
			 (unsigned long long)m->end);
	else
		snprintf(name, sizeof(name), "exe");
	if (probe_path(p, FACTS_MAPPED, name, f) < 0)
		return -1;
	p->x.id = m->id;
	t = type_of_facts(&p->x);
	if (t->dump != regular_dump)
		return fault(f, -ENOTSUP, "%s is a %s: %s", facts_name(&p->x, who, sizeof(who)),
			     t->name, t->refuse ? t->refuse : "it cannot be mapped again");
	return regular_dump(fs, &p->x, f);
}

int mapped_dump(struct files *fs, MappedFile *const *m, size_t n, struct fault *f)
{
	struct probe p = { .pid = 0 };
	int r = 0;
	size_t i;

	/* The list is ordered by task: one probe serves a run of its files. */
	for (i = 0; i < n && r == 0; i++) {
		if (p.pid != (pid_t)m[i]->pid) {
			if (p.pid)
				probe_close(&p);
			r = probe_open(&p, m[i]->pid, f);
		}
		if (r == 0)
			r = dump_one(fs, &p, m[i], f);
	}
	if (p.pid)
		probe_close(&p);
	return r;
}

/* Restore */

/* What was opened for these wants: programs of one tree map the same files. */
struct opened {
	uint32_t id, flags;
	int fd;
};

struct openings {
	struct opened *list;
	size_t n, cap;
};

static void close_openings(struct openings *o)
{
	size_t i;

	for (i = 0; i < o->n; i++)
		auto_close(&o->list[i].fd);
	free(o->list);
}

/* A descriptor of the file, which o keeps. */
static int open_once(struct files *fs, struct openings *o, uint32_t id, uint32_t flags, pid_t pid,
		     struct fault *f)
{
	struct opened *e;
	struct file *file;
	char who[64];
	size_t i;

	for (i = 0; i < o->n; i++)
		if (o->list[i].id == id && o->list[i].flags == flags)
			return o->list[i].fd;
	snprintf(who, sizeof(who), "mapped file of task %d", pid);
	file = regular_find(fs, id, who, f);
	if (!file)
		return -1;
	e = grow(&o->list, o->n, &o->cap, sizeof(*e));
	e->id = id;
	e->flags = flags;
	e->fd = regular_open(fs, file, flags & O_ACCMODE, f);
	if (e->fd < 0)
		return fault_prefix(f, "%s", who);
	o->n++;
	return e->fd;
}

static int install_want(struct files *fs, struct openings *o, const MappedWant *w, struct fault *f)
{
	struct task_files *t = prepare_task(fs, w->pid);
	AUTO_FREE struct placement *p = xcalloc(w->n_file_id, sizeof(*p));
	size_t i;

	if (!t || !t->gate || w->n_flags != w->n_file_id)
		return fault(f, -EPROTO, "damaged list of mapped files for task %u", w->pid);
	for (i = 0; i < w->n_file_id; i++) {
		p[i].fd = open_once(fs, o, w->file_id[i], w->flags[i], w->pid, f);
		p[i].at = w->first_fd + i;
		if (p[i].fd < 0)
			return -1;
	}
	if (t->mapped_end < w->first_fd + w->n_file_id)
		t->mapped_end = w->first_fd + w->n_file_id;
	if (!w->n_file_id)
		return 0;
	return install_fds(t, p, w->n_file_id, files_spare_fd(fs, w->pid), f);
}

int mapped_install(struct files *fs, MappedWant *const *w, size_t n, struct fault *f)
{
	struct openings o = { 0 };
	int r = 0;
	size_t i;

	if (!fs->restore)
		return fault(f, -EPROTO, "nothing is prepared to be restored");
	for (i = 0; i < n && r == 0; i++)
		r = install_want(fs, &o, w[i], f);
	close_openings(&o);
	return r;
}
