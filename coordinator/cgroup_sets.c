/* SPDX-License-Identifier: MIT */
/*
 * cgroup_sets.c - in which cgroups the threads are, each combination stored once.
 *
 * The kernel lists the hierarchies in the same order for every task, so two sets are equal when the
 * texts of /proc/PID/task/TID/cgroup are. The image names each set's paths and, per
 * hierarchy, the directories at and below them with their properties (cgroup_dirs.c).
 *
 * The root of a hierarchy is recorded without what is below: those are the whole machine's
 * cgroups, which no restore should bring back. --cgroup-root / asks for them.
 *
 * Rights:   /proc of the tasks, the image directory; cgroup_fs.c's.
 * Holds:    the texts, a descriptor per hierarchy.
 */
#include "coordinator/cgroup_sets.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "coordinator/cgroup_dirs.h"
#include "coordinator/cgroup_fs.h"
#include "coordinator/cgroup_props.h"
#include "coordinator/cgroup_roots.h"
#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/namespaces.pb-c.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

struct cgroup_sets {
	const Options *opts;
	enum cgroup_mode mode;
	struct cgroup_props *props;
	struct cgroup_fs *fs;
	pthread_mutex_t lock;
	char **text;		/* text[i] is set number i + 1 */
	size_t n, cap;
};

/* ---- in the freeze ---- */

/* --cgroup-dump-controller: is this hierarchy one of them? */
static bool is_wanted(const Options *o, const char *names)
{
	size_t i;

	for (i = 0; i < o->n_cgroup_dump_controller; i++)
		if (strcmp(o->cgroup_dump_controller[i], names) == 0)
			return true;
	return !o->n_cgroup_dump_controller;
}

/* Only the lines of hierarchies that are wanted, in place. */
static void drop_unwanted(const Options *o, char *text)
{
	AUTO_FREE char *copy = xstrdup(text);
	char *line = copy, *next, *names, *path, *to = text;

	for (; (next = cgroup_split_line(line, &names, &path)); line = next)
		if (is_wanted(o, names))
			to += sprintf(to, "%s:%s:%s\n", line, names, path);
	*to = '\0';
}

/* The cgroups of a thread. The caller frees it. */
static char *read_text(const Options *o, pid_t pid, pid_t tid, struct fault *f)
{
	char *text = procfs_read(pid, tid, "cgroup", NULL, f);

	if (text && o->n_cgroup_dump_controller)
		drop_unwanted(o, text);
	return text;
}

static uint32_t add_text(struct cgroup_sets *s, const char *text)
{
	char **slot = grow(&s->text, s->n, &s->cap, sizeof(*slot));

	*slot = xstrdup(text);
	return ++s->n;
}

static struct cgroup_props *read_props(const struct job *job, struct fault *f)
{
	const Options *o = job->opts;
	struct cgroup_props *p = cgroup_props_new();

	if ((!o->cgroup_props ||
	     cgroup_props_parse(p, o->cgroup_props, strlen(o->cgroup_props), f) == 0) &&
	    (!o->cgroup_props_file ||
	     cgroup_props_parse_file(p, job->work_dir, o->cgroup_props_file, f) == 0))
		return p;
	cgroup_props_free(p);
	return NULL;
}

/* Are directories recorded at all? */
static bool records_dirs(const struct cgroup_sets *s)
{
	return s->mode != CGROUP_IGNORE && !s->opts->unprivileged;
}

/*
 * Mounting takes milliseconds: for the hierarchies of the root task it is done before the freeze.
 * Who needs one that cannot be had will say so.
 */
static void open_early(struct cgroup_sets *s)
{
	struct fault ignored = { 0 };
	AUTO_FREE char *text = read_text(s->opts, s->opts->pid, 0, &ignored);
	char *line = text, *names, *path;

	if (!text || !records_dirs(s) || strcmp(text, s->text[0]) == 0)
		return;
	while ((line = cgroup_split_line(line, &names, &path)))
		cgroup_fs_root(s->fs, names, &ignored);
}

struct cgroup_sets *cgroup_sets_new(const struct job *job, struct fault *f)
{
	AUTO_FREE char *text = read_text(job->opts, getpid(), 0, f);
	struct cgroup_props *props;
	struct cgroup_sets *s;

	if (!text || cgroup_roots_check(job->opts, f) < 0)
		return NULL;
	props = read_props(job, f);
	if (!props)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	s->opts = job->opts;
	cgroup_mode_parse(job->opts->manage_cgroups, &s->mode);
	s->props = props;
	s->fs = cgroup_fs_new(job);
	pthread_mutex_init(&s->lock, NULL);
	add_text(s, text);
	open_early(s);
	return s;
}

void cgroup_sets_free(struct cgroup_sets *s)
{
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		free(s->text[i]);
	free(s->text);
	cgroup_props_free(s->props);
	cgroup_fs_free(s->fs);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static uint32_t number_of(struct cgroup_sets *s, const char *text)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strcmp(s->text[i], text) == 0)
			return i + 1;
	return add_text(s, text);
}

uint32_t cgroup_sets_of(struct cgroup_sets *s, pid_t pid, pid_t tid, struct fault *f)
{
	AUTO_FREE char *text = read_text(s->opts, pid, tid, f);
	uint32_t number;

	if (!text)
		return 0;
	pthread_mutex_lock(&s->lock);
	number = number_of(s, text);
	pthread_mutex_unlock(&s->lock);
	return number;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(CgMemberEntry *const *)a)->name, (*(CgMemberEntry *const *)b)->name);
}

/* ---- the image ---- */

/* One set; its members are sorted by hierarchy name. */
static CgSetEntry *set_entry(uint32_t id, const char *text)
{
	AUTO_FREE char *copy = xstrdup(text);
	CgSetEntry *e = xcalloc(1, sizeof(*e));
	char *p = copy, *names, *path;
	size_t cap = 0;

	cg_set_entry__init(e);
	e->id = id;
	while ((p = cgroup_split_line(p, &names, &path))) {
		CgMemberEntry *m = xcalloc(1, sizeof(*m)), **slot;

		cg_member_entry__init(m);
		m->name = xstrdup(names);
		m->path = xstrdup(path);
		slot = grow(&e->ctls, e->n_ctls, &cap, sizeof(*slot));
		*slot = m;
		e->n_ctls++;
	}
	qsort(e->ctls, e->n_ctls, sizeof(*e->ctls), by_name);
	return e;
}

/* ---- hierarchies ---- */

/* A hierarchy the sets name, with the paths they name in it. */
struct hierarchy {
	const char *names;
	const char **paths;
	size_t n, cap;
};

struct hierarchies {
	struct hierarchy *list;
	size_t n, cap;
};

static void free_hierarchies(struct hierarchies *all)
{
	size_t i;

	for (i = 0; i < all->n; i++)
		free(all->list[i].paths);
	free(all->list);
}

/* Sets may differ in their hierarchies: these come and go with their mounts. */
static struct hierarchy *hierarchy_of(struct hierarchies *all, const char *names)
{
	struct hierarchy *h;
	size_t i;

	for (i = 0; i < all->n; i++)
		if (strcmp(all->list[i].names, names) == 0)
			return &all->list[i];
	h = grow(&all->list, all->n, &all->cap, sizeof(*h));
	h->names = names;
	all->n++;
	return h;
}

static void add_path(struct hierarchy *h, const char *path)
{
	const char **slot;
	size_t i;

	for (i = 0; i < h->n; i++)
		if (strcmp(h->paths[i], path) == 0)
			return;
	slot = grow(&h->paths, h->n, &h->cap, sizeof(*slot));
	*slot = path;
	h->n++;
}

/* The directories to record: --cgroup-root's, or those of the sets. */
static int gather(const struct cgroup_sets *s, const CgroupEntry *cg, struct hierarchies *all,
		  struct fault *f)
{
	const char *root;
	size_t i, k;

	for (i = 0; i < cg->n_sets; i++)
		for (k = 0; k < cg->sets[i]->n_ctls; k++) {
			const CgMemberEntry *m = cg->sets[i]->ctls[k];

			if (cgroup_root_of(s->opts, m->name, &root, f) < 0)
				return -1;
			add_path(hierarchy_of(all, m->name), root ? root : m->path);
		}
	return 0;
}

/*
 * A hierarchy that is going away holds the tasks in its root, about which there is nothing to say.
 */
static bool is_bare(const struct hierarchy *h, const char *root)
{
	return !root && h->n == 1 && strcmp(h->paths[0], "/") == 0;
}

/* Is a path recorded with another one, which it is below? */
static bool is_within(const struct hierarchy *h, size_t i)
{
	size_t k;

	for (k = 0; k < h->n; k++)
		if (k != i && strcmp(h->paths[k], "/") != 0 &&
		    cgroup_path_below(h->paths[i], h->paths[k]))
			return true;
	return false;
}

static int add_dirs(const struct cgroup_sets *s, const struct hierarchy *h, CgControllerEntry *c,
		    struct fault *f)
{
	struct fault gone = { 0 };
	const char *root;
	size_t i;

	if (!records_dirs(s))
		return 0;
	if (cgroup_root_of(s->opts, h->names, &root, f) < 0)
		return -1;
	if (is_bare(h, root) && cgroup_fs_root(s->fs, h->names, &gone) < 0) {
		log_warnx("%s", gone.text);
		return 0;
	}
	for (i = 0; i < h->n; i++)
		if (!is_within(h, i) &&
		    cgroup_dirs_dump(s->fs, s->props, h->paths[i],
				     root || strcmp(h->paths[i], "/") != 0, c, f) < 0)
			return -1;
	return 0;
}

static CgControllerEntry *controller(const struct cgroup_sets *s, const struct hierarchy *h,
				     struct fault *f)
{
	CgControllerEntry *c = xcalloc(1, sizeof(*c));
	AUTO_FREE char *names = xstrdup(h->names);
	char *name, *rest = names;
	size_t cap = 0;

	cg_controller_entry__init(c);
	c->has_is_threaded = true;
	while ((name = strsep(&rest, ","))) {
		char **slot = grow(&c->cnames, c->n_cnames, &cap, sizeof(*slot));

		*slot = xstrdup(name);
		c->n_cnames++;
	}
	if (add_dirs(s, h, c, f) == 0)
		return c;
	cg_controller_entry__free_unpacked(c, NULL);
	return NULL;
}

static int add_controllers(const struct cgroup_sets *s, CgroupEntry *cg, struct fault *f)
{
	struct hierarchies all = { 0 };
	CgControllerEntry *c;
	size_t i;

	if (gather(s, cg, &all, f) == 0) {
		cg->controllers = xcalloc(all.n, sizeof(*cg->controllers));
		for (i = 0; i < all.n; i++) {
			c = controller(s, &all.list[i], f);
			if (!c)
				break;
			cg->controllers[cg->n_controllers++] = c;
		}
	}
	free_hierarchies(&all);
	return f->code ? -1 : 0;
}

int cgroup_sets_write(const struct cgroup_sets *s, int image_dir, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	AUTO_MSG CgroupEntry *cg = NULL;
	size_t i;

	if (s->n == 1)
		return 0;
	cg = xcalloc(1, sizeof(*cg));
	cgroup_entry__init(cg);
	cg->sets = xcalloc(s->n, sizeof(*cg->sets));
	for (i = 1; i < s->n; i++)		/* our own set is not the tasks' */
		cg->sets[cg->n_sets++] = set_entry(i + 1, s->text[i]);
	if (add_controllers(s, cg, f) < 0)
		return -1;
	img = image_create(image_dir, IMG_CGROUP, 0, f);
	if (!img || image_write(img, &cg->base, f) < 0)
		return -1;
	return image_close(&img, f);
}
