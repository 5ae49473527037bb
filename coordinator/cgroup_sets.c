/* SPDX-License-Identifier: MIT */
/*
 * cgroup_sets.c - in which cgroups the threads are, each combination stored once.
 *
 * The kernel lists the hierarchies in the same order for every task, so two sets are equal when the
 * texts of /proc/PID/task/TID/cgroup are. The image names each set's paths and, per
 * hierarchy, the directories a restore may have to make; their control files are not recorded.
 *
 * Rights:   /proc of the tasks, the image directory.
 * Holds:    the texts.
 */
#include "coordinator/cgroup_sets.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "proto/images/namespaces.pb-c.h"
#include "workers/common/procfs.h"

struct cgroup_sets {
	pthread_mutex_t lock;
	char **text;		/* text[i] is set number i + 1 */
	size_t n, cap;
};

static uint32_t add_text(struct cgroup_sets *s, const char *text)
{
	char **slot = grow(&s->text, s->n, &s->cap, sizeof(*slot));

	*slot = xstrdup(text);
	return ++s->n;
}

struct cgroup_sets *cgroup_sets_new(struct fault *f)
{
	AUTO_FREE char *text = procfs_read(getpid(), 0, "cgroup", NULL, f);
	struct cgroup_sets *s;

	if (!text)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	add_text(s, text);
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
	AUTO_FREE char *text = procfs_read(pid, tid, "cgroup", NULL, f);
	uint32_t number;

	if (!text)
		return 0;
	pthread_mutex_lock(&s->lock);
	number = number_of(s, text);
	pthread_mutex_unlock(&s->lock);
	return number;
}

/*
 * Take one line "N:NAMES:PATH" apart, in place. Returns the next line, NULL at the end or when
 * it is not such a line.
 */
static char *split_line(char *line, char **names, char **path)
{
	char *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	*names = strchr(line, ':');
	*path = *names ? strchr(*names + 1, ':') : NULL;
	if (!*path)
		return NULL;
	*(*names)++ = '\0';
	*(*path)++ = '\0';
	return end + 1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(CgMemberEntry *const *)a)->name, (*(CgMemberEntry *const *)b)->name);
}

/* One set; its members are sorted by hierarchy name. */
static CgSetEntry *set_entry(uint32_t id, const char *text)
{
	AUTO_FREE char *copy = xstrdup(text);
	CgSetEntry *e = xcalloc(1, sizeof(*e));
	char *p = copy, *names, *path;
	size_t cap = 0;

	cg_set_entry__init(e);
	e->id = id;
	while ((p = split_line(p, &names, &path))) {
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

static void add_dir(CgControllerEntry *c, size_t *cap, const char *path)
{
	CgroupDirEntry *d, **slot;
	size_t i;

	for (i = 0; i < c->n_dirs; i++)
		if (strcmp(c->dirs[i]->dir_name, path) == 0)
			return;
	d = xcalloc(1, sizeof(*d));
	cgroup_dir_entry__init(d);
	d->dir_name = xstrdup(path);
	slot = grow(&c->dirs, c->n_dirs, cap, sizeof(*slot));
	*slot = d;
	c->n_dirs++;
}

/* The hierarchy of member number i, with the directories of all sets. */
static CgControllerEntry *controller(const CgroupEntry *cg, size_t i)
{
	CgControllerEntry *c = xcalloc(1, sizeof(*c));
	AUTO_FREE char *names = xstrdup(cg->sets[0]->ctls[i]->name);
	char *name, *rest = names;
	size_t cap = 0, s;

	cg_controller_entry__init(c);
	c->has_is_threaded = true;
	while ((name = strsep(&rest, ","))) {
		char **slot = grow(&c->cnames, c->n_cnames, &cap, sizeof(*slot));

		*slot = xstrdup(name);
		c->n_cnames++;
	}
	cap = 0;
	for (s = 0; s < cg->n_sets; s++)
		if (i < cg->sets[s]->n_ctls)
			add_dir(c, &cap, cg->sets[s]->ctls[i]->path);
	return c;
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
	cg->controllers = xcalloc(cg->sets[0]->n_ctls, sizeof(*cg->controllers));
	for (i = 0; i < cg->sets[0]->n_ctls; i++)
		cg->controllers[cg->n_controllers++] = controller(cg, i);
	img = image_create(image_dir, IMG_CGROUP, 0, f);
	if (!img || image_write(img, &cg->base, f) < 0)
		return -1;
	return image_close(&img, f);
}
