/* SPDX-License-Identifier: MIT */
/*
 * cgroup_restore.c - put restored tasks into the cgroups they were in.
 *
 * Directories are there before the first task, so that the undo of a failed restore, which comes
 * after the tasks' end, can remove them. Where a task would be anyway, in our own cgroup,
 * it is not moved.
 *
 * Rights:   CAP_SYS_ADMIN; write access to the cgroups.
 * Holds:    the image, a descriptor per hierarchy and the list of new directories, from
 *           cgroups_check to cgroups_free.
 */
#include "coordinator/cgroup_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "coordinator/cgroup_dirs.h"
#include "coordinator/cgroup_fs.h"
#include "coordinator/cgroup_roots.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

struct cgroups {
	CgroupEntry *image;
	char *own;			/* our /proc/self/cgroup */
	struct cgroup_fs *fs;
	struct cgroup_dirs *dirs;
};

/* ---- the image ---- */

static CgSetEntry *find_set(const CgroupEntry *e, uint32_t id)
{
	size_t i;

	for (i = 0; i < e->n_sets; i++)
		if (e->sets[i]->id == id)
			return e->sets[i];
	return NULL;
}

static int check_set(const CgSetEntry *set, struct fault *f)
{
	size_t i;

	for (i = 0; i < set->n_ctls; i++) {
		const CgMemberEntry *m = set->ctls[i];

		if (!cgroup_path_good(m->path) || strlen(m->name) >= NAME_MAX)
			return fault(f, -EBADMSG, "cgroup.img: set %u: the path of hierarchy %.80s "
				     "is damaged", set->id, m->name);
	}
	return 0;
}

/* Directories nest no deeper than image_read allows. */
static int check_dir(const CgroupDirEntry *e, struct fault *f)
{
	AUTO_FREE char *path = xasprintf("/%s", e->dir_name);
	size_t i;

	if (!cgroup_path_good(path))
		return fault(f, -EBADMSG, "cgroup.img: directory %.80s: no name of a cgroup",
			     e->dir_name);
	for (i = 0; i < e->n_properties; i++)
		if (!cgroup_prop_good_name(e->properties[i]->name))
			return fault(f, -EBADMSG, "cgroup.img: directory %.80s: property %zu has "
				     "no name of a control file", e->dir_name, i);
	for (i = 0; i < e->n_children; i++)
		if (check_dir(e->children[i], f) < 0)
			return -1;
	return 0;
}

static int check_controller(const CgControllerEntry *c, size_t number, struct fault *f)
{
	size_t i;

	if (!c->n_cnames)
		return fault(f, -EBADMSG, "cgroup.img: controller entry %zu has no names", number);
	for (i = 0; i < c->n_cnames; i++)
		if (strlen(c->cnames[i]) >= NAME_MAX || strpbrk(c->cnames[i], "/,"))
			return fault(f, -EBADMSG, "cgroup.img: controller entry %zu: the name "
				     "%.80s is damaged", number, c->cnames[i]);
	for (i = 0; i < c->n_dirs; i++)
		if (check_dir(c->dirs[i], f) < 0)
			return -1;
	return 0;
}

static int check_image(const CgroupEntry *e, struct fault *f)
{
	size_t i;

	for (i = 0; i < e->n_sets; i++)
		if (check_set(e->sets[i], f) < 0)
			return -1;
	for (i = 0; i < e->n_controllers; i++)
		if (check_controller(e->controllers[i], i, f) < 0)
			return -1;
	return 0;
}

/* 1 with *e set, 0 when there is no image, -1. */
static int load(struct job *job, CgroupEntry **e, struct fault *f)
{
	AUTO_IMAGE struct image *img = image_open_optional(job->image_dir, IMG_CGROUP, 0, f);
	AUTO_MSG ProtobufCMessage *msg = NULL;
	int r;

	if (!img)
		return f->code ? -1 : 0;
	r = image_read(img, &msg, f);
	if (r <= 0)
		return r;
	if (check_image((CgroupEntry *)msg, f) < 0)
		return -1;
	*e = take_ptr(&msg);
	return 1;
}

int cgroups_check(struct job *job, struct fault *f)
{
	AUTO_MSG CgroupEntry *image = NULL;
	AUTO_FREE char *own = NULL;
	enum cgroup_mode mode;
	struct cgroups *g;
	int r;

	cgroup_mode_parse(job->opts->manage_cgroups, &mode);
	if (cgroup_roots_check(job->opts, f) < 0)
		return -1;
	r = mode == CGROUP_IGNORE ? 0 : load(job, &image, f);
	if (r <= 0)
		return r;
	own = procfs_read(getpid(), 0, "cgroup", NULL, f);
	if (!own || cgroup_roots_apply(job->opts, image, f) < 0)
		return -1;
	job->cgroups = g = xcalloc(1, sizeof(*g));
	g->image = take_ptr(&image);
	g->own = take_ptr(&own);
	g->fs = cgroup_fs_new(job);
	g->dirs = cgroup_dirs_new(g->fs, mode);
	return 0;
}

void cgroups_free(struct job *job)
{
	struct cgroups *g = take_ptr(&job->cgroups);

	if (!g)
		return;
	cgroup_entry__free_unpacked(g->image, NULL);
	free(g->own);
	cgroup_dirs_free(g->dirs);
	cgroup_fs_free(g->fs);
	free(g);
}

/* ---- directories ---- */

/*
 * Are we ourselves there? Each line of our text is "N:NAMES:PATH". Of a hierarchy that is not here
 * everybody is in the root.
 */
static bool is_own(const struct cgroups *g, const CgMemberEntry *to)
{
	AUTO_FREE char *hierarchy = xasprintf(":%s:/", to->name);
	AUTO_FREE char *line = xasprintf(":%s:%s\n", to->name, to->path);

	return strstr(g->own, line) || (!to->path[1] && !strstr(g->own, hierarchy));
}

/* What the sets name without an entry of its own, as in a dump that recorded no directories. */
static int make_members(struct cgroups *g, const CgSetEntry *set, struct fault *f)
{
	size_t i;

	for (i = 0; i < set->n_ctls; i++) {
		const CgMemberEntry *m = set->ctls[i];
		AUTO_CLOSE int dir = -1;
		int root;

		if (is_own(g, m))
			continue;
		root = cgroup_fs_root(g->fs, m->name, f);
		dir = root < 0 ? -1 : cgroup_dirs_open(g->dirs, root, m->path, f);
		if (dir < 0)
			return fault_prefix(f, "hierarchy %.80s", cgroup_fs_title(m->name));
	}
	return 0;
}

/* Without privileges nothing is done but what must be: moving those who are not in our cgroups. */
static bool restores_dirs(const struct job *job)
{
	return job->cgroups && !job->opts->unprivileged;
}

static int make_all(struct job *job, struct fault *f)
{
	struct cgroups *g = job->cgroups;
	size_t i;

	for (i = 0; restores_dirs(job) && i < g->image->n_controllers; i++)
		if (cgroup_dirs_make(g->dirs, g->image->controllers[i], f) < 0)
			return -1;
	for (i = 0; i < g->image->n_sets; i++)
		if (make_members(g, g->image->sets[i], f) < 0)
			return -1;
	return 0;
}

int cgroups_make(struct job *job, struct fault *f)
{
	if (!job->cgroups || make_all(job, f) == 0)
		return 0;
	cgroups_remove(job);
	return -1;
}

void cgroups_remove(struct job *job)
{
	if (job->cgroups)
		cgroup_dirs_remove(job->cgroups->dirs);
}

static int write_all(struct job *job, bool late, struct fault *f)
{
	struct cgroups *g = job->cgroups;
	size_t i;

	for (i = 0; restores_dirs(job) && i < g->image->n_controllers; i++)
		if (cgroup_dirs_write(g->dirs, g->image->controllers[i], late, f) < 0)
			return -1;
	return 0;
}

int cgroups_write(struct job *job, struct fault *f)
{
	return write_all(job, false, f);
}

int cgroups_freeze(struct job *job, struct fault *f)
{
	return write_all(job, true, f);
}

/* ---- moving ---- */

/* A process as a whole, or one thread of it. */
static int move_one(struct cgroups *g, const CgMemberEntry *to, pid_t id, bool thread,
		    struct fault *f)
{
	const char *file = !thread ? "cgroup.procs" : *to->name ? "tasks" : "cgroup.threads";
	AUTO_CLOSE int dir = -1, fd = -1;
	int root = cgroup_fs_root(g->fs, to->name, f);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", id);

	if (root < 0)
		return -1;
	dir = cgroup_dirs_open(g->dirs, root, to->path, f);
	if (dir < 0)
		return -1;
	fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, n) != n)
		return fault(f, errno, "move %s %d into the cgroup %s of hierarchy %.80s",
			     thread ? "thread" : "task", id, to->path, cgroup_fs_title(to->name));
	return 0;
}

static bool is_member(const CgSetEntry *set, const CgMemberEntry *of)
{
	size_t i;

	for (i = 0; i < set->n_ctls; i++)
		if (strcmp(set->ctls[i]->name, of->name) == 0)
			return strcmp(set->ctls[i]->path, of->path) == 0;
	return false;
}

/* from: where the process was moved before; NULL: it is still with us. */
static int move_to_set(struct cgroups *g, const CgSetEntry *set, const CgSetEntry *from, pid_t id,
		       bool thread, struct fault *f)
{
	size_t i;

	for (i = 0; i < set->n_ctls; i++) {
		const CgMemberEntry *to = set->ctls[i];

		if (from ? is_member(from, to) : is_own(g, to))
			continue;
		if (move_one(g, to, id, thread, f) < 0)
			return -1;
	}
	return 0;
}

static uint32_t set_of(const struct thread *th)
{
	const CoreEntry *c = th->core;

	if (c->thread_core && c->thread_core->has_cg_set)
		return c->thread_core->cg_set;
	return c->tc && c->tc->has_cg_set ? c->tc->cg_set : 0;
}

/* The process goes with its leader; threads that were elsewhere follow their own record. */
static int move_task(struct cgroups *g, const struct task *t, struct fault *f)
{
	uint32_t leader = set_of(&t->threads[0]), id;
	const CgSetEntry *all = find_set(g->image, leader), *set;
	size_t i;

	if (all && move_to_set(g, all, NULL, t->pid, false, f) < 0)
		return -1;
	for (i = 1; i < t->nthreads; i++) {
		id = set_of(&t->threads[i]);
		set = id && id != leader ? find_set(g->image, id) : NULL;
		if (set && move_to_set(g, set, all, t->threads[i].tid, true, f) < 0)
			return -1;
	}
	return 0;
}

int cgroups_move(struct job *job, struct fault *f)
{
	size_t i;

	for (i = 0; job->cgroups && i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE &&
		    move_task(job->cgroups, job->tasks[i], f) < 0)
			return -1;
	return 0;
}
