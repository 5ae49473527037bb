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

#include "proto/control/util.h"
#include "workers/files/deliver.h"
#include "workers/files/device.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/memfd.h"
#include "workers/files/openings.h"
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
	if (m->device)
		return device_dump_mapped(fs, &p->x, m->flags, f);
	t = type_of_facts(&p->x);
	if (t == &memfd_type)
		return memfd_dump_mapped(fs, &p->x, m, f);
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

static int plan(struct files *fs, struct openings *o, const MappedWant *w, struct delivery *d,
		struct fault *f)
{
	struct task_files *t = prepare_task(fs, w->pid);
	char who[64];
	size_t i;

	if (!t || !t->gate || w->n_flags != w->n_file_id)
		return fault(f, -EPROTO, "damaged list of mapped files for task %u", w->pid);
	snprintf(who, sizeof(who), "mapped file of task %u", w->pid);
	if (t->mapped_end < w->first_fd + w->n_file_id)
		t->mapped_end = w->first_fd + w->n_file_id;
	*d = (struct delivery){ .task = t, .n = w->n_file_id, .root = -1 };
	d->spare = files_spare_fd(fs, w->pid);
	d->p = xcalloc(d->n, sizeof(*d->p));
	for (i = 0; i < d->n; i++) {
		d->p[i].fd = openings_get(fs, o, w->file_id[i], w->flags[i] & O_ACCMODE, who, f);
		d->p[i].at = w->first_fd + i;
		if (d->p[i].fd < 0)
			return -1;
	}
	return 0;
}

int mapped_install(struct files *fs, MappedWant *const *w, size_t n, struct fault *f)
{
	AUTO_FREE struct delivery *d = xcalloc(n, sizeof(*d));
	AUTO_OPENINGS struct openings o = { 0 };
	size_t i, k = 0;
	int r = 0;

	if (!fs->restore)
		return fault(f, -EPROTO, "nothing is prepared to be restored");
	for (i = 0; i < n && r == 0; i++)
		if (w[i]->n_file_id)
			r = plan(fs, &o, w[i], &d[k++], f);
	if (r == 0)
		r = deliver(fs, d, k, f);
	while (k-- > 0)
		free(d[k].p);
	return r;
}
