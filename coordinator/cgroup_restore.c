/* SPDX-License-Identifier: MIT */
/*
 * cgroup_restore.c - put restored tasks into the cgroups they were in.
 *
 * Each hierarchy is reached by a mount of our own that appears in no directory (fsopen, Linux 5.2),
 * so it does not matter what is mounted where. Where a task would be anyway, in our own
 * cgroup, nothing is opened. Control files are not restored.
 *
 * Rights:   CAP_SYS_ADMIN; write access to the cgroups.
 * Holds:    the image and a descriptor per hierarchy, while cgroups_restore runs.
 */
#include "coordinator/cgroup_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/namespaces.pb-c.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

#define NAMED "name="

struct hierarchy {
	char *name;			/* as in /proc/PID/cgroup; "" is cgroup2 */
	int fd;				/* its root */
};

struct mover {
	CgroupEntry *image;
	char *own;			/* our /proc/self/cgroup */
	struct hierarchy *list;
	size_t n, cap;
};

/* ---- the image ---- */

/* An absolute path without "." and ".." components. */
static bool good_path(const char *p)
{
	if (*p != '/' || strlen(p) >= PATH_MAX - 32)
		return false;
	for (; *p; p++)
		if (*p == '/' && p[1] == '.' &&
		    (p[2] == '/' || !p[2] || (p[2] == '.' && (p[3] == '/' || !p[3]))))
			return false;
	return true;
}

static CgSetEntry *find_set(const CgroupEntry *e, uint32_t id)
{
	size_t i;

	for (i = 0; i < e->n_sets; i++)
		if (e->sets[i]->id == id)
			return e->sets[i];
	return NULL;
}

static int check_image(const CgroupEntry *e, struct fault *f)
{
	size_t i, k;

	for (i = 0; i < e->n_sets; i++)
		for (k = 0; k < e->sets[i]->n_ctls; k++) {
			const CgMemberEntry *m = e->sets[i]->ctls[k];

			if (!good_path(m->path) || strlen(m->name) >= NAME_MAX)
				return fault(f, -EBADMSG, "cgroup.img: set %u: the path of hierarchy "
					     "%.80s is damaged", e->sets[i]->id, m->name);
		}
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

static bool ignored(const struct job *job)
{
	return job->opts->manage_cgroups && strcmp(job->opts->manage_cgroups, "ignore") == 0;
}

int cgroups_check(struct job *job, struct fault *f)
{
	AUTO_MSG CgroupEntry *e = NULL;

	return ignored(job) || load(job, &e, f) >= 0 ? 0 : -1;
}

/* ---- hierarchies ---- */

static int configure(int fs, const char *name)
{
	char copy[NAME_MAX], *one, *rest = copy;

	if (strncmp(name, NAMED, strlen(NAMED)) == 0)
		return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "name",
			       name + strlen(NAMED), 0);
	snprintf(copy, sizeof(copy), "%s", name);
	while ((one = strsep(&rest, ",")))
		if (*one && syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, one, NULL, 0) < 0)
			return -1;
	return 0;
}

static int open_hierarchy(const char *name, struct fault *f)
{
	AUTO_CLOSE int fs = syscall(SYS_fsopen, *name ? "cgroup" : "cgroup2", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs >= 0 && configure(fs, name) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return fault(f, errno, "open the cgroup hierarchy %s (--manage-cgroups=ignore leaves "
			     "tasks in stasis' own cgroups)", *name ? name : "of version 2");
	return fd;
}

static int hierarchy_fd(struct mover *m, const char *name, struct fault *f)
{
	struct hierarchy *h;
	size_t i;
	int fd;

	for (i = 0; i < m->n; i++)
		if (strcmp(m->list[i].name, name) == 0)
			return m->list[i].fd;
	fd = open_hierarchy(name, f);
	if (fd < 0)
		return -1;
	h = grow(&m->list, m->n, &m->cap, sizeof(*h));
	h->name = xstrdup(name);
	h->fd = fd;
	m->n++;
	return fd;
}

/* Are we ourselves there? Each line of our text is "N:NAMES:PATH". */
static bool is_own(const struct mover *m, const CgMemberEntry *to)
{
	AUTO_FREE char *end = xasprintf(":%s:%s\n", to->name, to->path);

	return strstr(m->own, end) != NULL;
}

/* ---- directories ---- */

/* A new directory of the cpuset controller takes no task before it has processors and memory. */
static void inherit_cpuset(int dir)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(files); i++) {
		AUTO_CLOSE int to = openat(dir, files[i], O_WRONLY | O_CLOEXEC);
		AUTO_CLOSE int from = -1;
		char parent[32], text[4096];
		ssize_t n;

		snprintf(parent, sizeof(parent), "../%s", files[i]);
		from = to < 0 ? -1 : openat(dir, parent, O_RDONLY | O_CLOEXEC);
		n = from < 0 ? -1 : read_full(from, text, sizeof(text));
		if (n > 0 && write(to, text, n) != n)
			log_warnx("%s of a new cgroup: %s", files[i], strerror(errno));
	}
}

/* Open a directory below root, made where it is missing. */
static int open_directory(int root, const char *path, struct fault *f)
{
	AUTO_CLOSE int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *copy = xstrdup(path);
	char *name, *rest = copy;
	int next, made;

	while (fd >= 0 && (name = strsep(&rest, "/"))) {
		if (!*name)
			continue;
		made = mkdirat(fd, name, 0755);
		if (made < 0 && errno != EEXIST)
			return fault(f, errno, "make the cgroup %s", path);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
		if (made == 0 && fd >= 0)
			inherit_cpuset(fd);
	}
	if (fd < 0)
		return fault(f, errno, "open the cgroup %s", path);
	return take_fd(&fd);
}

/* ---- moving ---- */

/* A process as a whole, or one thread of it. */
static int move_one(struct mover *m, const CgMemberEntry *to, pid_t id, bool thread,
		    struct fault *f)
{
	const char *file = !thread ? "cgroup.procs" : *to->name ? "tasks" : "cgroup.threads";
	AUTO_CLOSE int dir = -1, fd = -1;
	int root = hierarchy_fd(m, to->name, f);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", id);

	if (root < 0)
		return -1;
	dir = open_directory(root, to->path, f);
	if (dir < 0)
		return -1;
	fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, n) != n)
		return fault(f, errno, "move %s %d into the cgroup %s of hierarchy %s",
			     thread ? "thread" : "task", id, to->path, to->name);
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
static int move_to_set(struct mover *m, const CgSetEntry *set, const CgSetEntry *from, pid_t id,
		       bool thread, struct fault *f)
{
	size_t i;

	for (i = 0; i < set->n_ctls; i++) {
		const CgMemberEntry *to = set->ctls[i];

		if (from ? is_member(from, to) : is_own(m, to))
			continue;
		if (move_one(m, to, id, thread, f) < 0)
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
static int move_task(struct mover *m, const struct task *t, struct fault *f)
{
	uint32_t leader = set_of(&t->threads[0]), id;
	const CgSetEntry *all = find_set(m->image, leader), *set;
	size_t i;

	if (all && move_to_set(m, all, NULL, t->pid, false, f) < 0)
		return -1;
	for (i = 1; i < t->nthreads; i++) {
		id = set_of(&t->threads[i]);
		set = id && id != leader ? find_set(m->image, id) : NULL;
		if (set && move_to_set(m, set, all, t->threads[i].tid, true, f) < 0)
			return -1;
	}
	return 0;
}

int cgroups_restore(struct job *job, struct fault *f)
{
	struct mover m = { 0 };
	size_t i;
	int r;

	if (ignored(job))
		return 0;
	r = load(job, &m.image, f);
	if (r <= 0)
		return r;
	m.own = procfs_read(getpid(), 0, "cgroup", NULL, f);
	r = m.own ? 0 : -1;
	for (i = 0; r == 0 && i < job->ntasks; i++)
		if (job->tasks[i]->state != TASK_ZOMBIE)
			r = move_task(&m, job->tasks[i], f);
	for (i = 0; i < m.n; i++) {
		close(m.list[i].fd);
		free(m.list[i].name);
	}
	free(m.list);
	free(m.own);
	cgroup_entry__free_unpacked(m.image, NULL);
	return r;
}
