/* SPDX-License-Identifier: MIT */
/*
 * survey.c - look at the files of running tasks as a dump would, for "stasis check PID".
 *
 * The tasks run: what is gone when it is looked at is left out. Rows whose dump changes nothing are
 * asked to dump, without an entry; the others tell their obstacles by preflight().
 *
 * Rights:   ptrace access to the tasks.
 * Holds:    nothing between messages.
 */
#include "workers/files/survey.h"

#include <stdio.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/common/finding.h"
#include "workers/files/device.h"
#include "workers/files/facts.h"
#include "workers/files/files.h"
#include "workers/files/locks.h"
#include "workers/files/regular.h"
#include "workers/files/socket.h"

/* The row of regular files has all that is opened by its path. */
static void describe(const struct facts *x, const struct file_type *t, char *deed, size_t size)
{
	if (t != &regular_type || t->refuse)
		snprintf(deed, size, "%s: %s", t->name, t->refuse ? "not dumped" :
			 t->deed ? t->deed : "created again");
	else if (!x->st.st_nlink)
		snprintf(deed, size, "deleted file: stored with its contents");
	else
		snprintf(deed, size, "%s: opened again by its path",
			 S_ISDIR(x->st.st_mode) ? "directory" :
			 S_ISREG(x->st.st_mode) ? "file" : "device");
}

static void add(FilesSurveyed *out, const struct facts *x, const struct file_type *t,
		const struct fault *why)
{
	char who[400], deed[200];
	const char *object = strchr(facts_name(x, who, sizeof(who)), ',');

	describe(x, t, deed, sizeof(deed));
	out->finding = xrealloc(out->finding, out->n_finding + 1, sizeof(*out->finding));
	out->finding[out->n_finding++] = finding_new(x->pid, object ? object + 2 : who, deed, why);
}

static void judge(struct files *fs, const struct file_type *t, const struct facts *x,
		  struct fault *why)
{
	if (t->refuse)
		type_refuse(t, x, why);
	else if (t->preflight && t->preflight(fs, x, why) < 0)
		return;
	else if (t->harmless)
		t->dump(fs, x, why);
}

static void survey_fd(struct files *fs, struct probe *p, const DumpTask *task, int fd,
		      FilesSurveyed *out)
{
	const struct file_type *t;
	struct fault why = { 0 };

	if (probe_info(p, fd, NULL, &why) < 0 || probe_file(p, &why) < 0)
		return;
	p->x.id = files_new_id(fs);
	t = type_of_facts(&p->x);
	if (socket_is(t)) {
		t->dump(fs, &p->x, &why);	/* names it for the net worker */
		return;
	}
	if (t->device) {
		device_name(fs, t, &p->x);	/* for the gpu worker */
		return;
	}
	judge(fs, t, &p->x, &why);
	if (!why.code)
		locks_note(fs, &p->x, task, p->info, &why);
	add(out, &p->x, t, &why);
}

static void survey_dir(struct files *fs, struct probe *p, enum facts_place place, const char *name,
		       FilesSurveyed *out)
{
	const struct file_type *t;
	struct fault why = { 0 };

	if (probe_path(p, place, name, &why) < 0)
		return;
	t = type_of_facts(&p->x);
	judge(fs, t, &p->x, &why);
	add(out, &p->x, t, &why);
}

void survey_task(struct files *fs, const DumpTask *task, FilesSurveyed *out)
{
	AUTO_PROBE struct probe p;
	AUTO_FREE int *fds = NULL;
	struct fault gone = { 0 };
	size_t i, n;

	if (probe_open(&p, task->pid, &gone) < 0)
		return;
	survey_dir(fs, &p, FACTS_ROOT, "root", out);
	survey_dir(fs, &p, FACTS_CWD, "cwd", out);
	survey_dir(fs, &p, FACTS_MAPPED, "exe", out);
	if (task->files_shared || probe_list(&p, &fds, &n, &gone) < 0)
		return;
	for (i = 0; i < n; i++)
		survey_fd(fs, &p, task, fds[i], out);
}
