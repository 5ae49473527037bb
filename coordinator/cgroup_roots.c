/* SPDX-License-Identifier: MIT */
/*
 * cgroup_roots.c - --cgroup-root: the cgroup that stands for a hierarchy's root.
 *
 * Dump:     directories are recorded from the root on, also those above the tasks' own.
 * Restore:  what the image has below its directories of a hierarchy comes below the new root.
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/cgroup_roots.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "coordinator/cgroup_fs.h"
#include "proto/control/util.h"

/* ---- paths ---- */

bool cgroup_path_good(const char *p)
{
	if (*p != '/' || strlen(p) >= PATH_MAX - 32)
		return false;
	for (; *p; p++)
		if (*p == '/' && p[1] == '.' &&
		    (p[2] == '/' || !p[2] || (p[2] == '.' && (p[3] == '/' || !p[3]))))
			return false;
	return true;
}

char *cgroup_path_join(const char *parent, const char *name)
{
	char *path = xasprintf("/%s/%s", parent, name), *to = path, *from;

	for (from = path; *from; from++)
		if (*from != '/' || (from[1] && from[1] != '/'))
			*to++ = *from;
	if (to == path)
		*to++ = '/';
	*to = '\0';
	return path;
}

const char *cgroup_path_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (strcmp(dir, "/") == 0)
		return path;
	if (strncmp(path, dir, len) != 0 || (path[len] && path[len] != '/'))
		return NULL;
	return path + len;
}

/* ---- the option ---- */

/* Is text CONTROLLER:PATH for one of the names? *all: it is a path only. */
static const char *root_in(const char *text, const char *names, bool *all)
{
	const char *colon = *text == '/' ? NULL : strchr(text, ':');
	AUTO_FREE char *controller = colon ? xstrdup(text) : NULL;

	*all = !colon;
	if (!colon)
		return text;
	controller[colon - text] = '\0';
	if (strcmp(names, controller) && !cgroup_names_have(names, controller))
		return NULL;
	return colon + 1;
}

int cgroup_roots_check(const Options *o, struct fault *f)
{
	size_t i;

	for (i = 0; i < o->n_cgroup_root; i++) {
		const char *text = o->cgroup_root[i];
		const char *path = *text == '/' ? text : strchr(text, '/');

		if (!path || (path != text && path[-1] != ':') || !cgroup_path_good(path))
			return fault(f, -EINVAL, "--cgroup-root %s: the form is [CONTROLLER:]/PATH",
				     text);
	}
	return 0;
}

int cgroup_root_of(const Options *o, const char *names, const char **root, struct fault *f)
{
	const char *global = NULL, *one;
	size_t i;
	bool all;

	*root = NULL;
	for (i = 0; i < o->n_cgroup_root; i++) {
		one = root_in(o->cgroup_root[i], names, &all);
		if (all)
			global = one;
		else if (one && *root && strcmp(one, *root))
			return fault(f, -EINVAL, "--cgroup-root: %s and %s for the controllers %s, "
				     "which share a hierarchy", *root, one, names);
		else if (one)
			*root = one;
	}
	if (!*root)
		*root = global;
	return 0;
}

/* ---- restore ---- */

/* Does a member of a set belong to this hierarchy? */
static bool is_of(const CgControllerEntry *c, const char *names)
{
	size_t i;

	for (i = 0; i < c->n_cnames; i++)
		if (!cgroup_names_have(names, c->cnames[i]))
			return false;
	return c->n_cnames > 0;
}

/* The directory of the image that holds path, with the most components; *rest is what follows. */
static CgroupDirEntry *holder_of(const CgControllerEntry *c, const char *path, const char **rest)
{
	CgroupDirEntry *best = NULL;
	size_t i;

	for (i = 0; i < c->n_dirs; i++) {
		AUTO_FREE char *dir = cgroup_path_join("", c->dirs[i]->dir_name);
		const char *below = cgroup_path_below(path, dir);

		if (below && (!best || strlen(below) < strlen(*rest))) {
			best = c->dirs[i];
			*rest = below;
		}
	}
	return best;
}

/* One hierarchy. Directories get their new names last: members are found by the old ones. */
static void move_to_root(CgroupEntry *image, CgControllerEntry *c, const char *root)
{
	AUTO_FREE bool *renamed = xcalloc(c->n_dirs + 1, sizeof(*renamed));
	size_t i, k;

	for (i = 0; i < image->n_sets; i++)
		for (k = 0; k < image->sets[i]->n_ctls; k++) {
			CgMemberEntry *m = image->sets[i]->ctls[k];
			const char *rest = m->path;
			CgroupDirEntry *dir;
			size_t d;
			char *path;

			if (!is_of(c, m->name))
				continue;
			dir = holder_of(c, m->path, &rest);
			path = dir ? cgroup_path_join(root, rest) : NULL;
			for (d = 0; d < c->n_dirs; d++)
				renamed[d] |= c->dirs[d] == dir;
			if (path) {
				free(m->path);
				m->path = path;
			}
		}
	for (i = 0; i < c->n_dirs; i++)
		if (renamed[i]) {
			free(c->dirs[i]->dir_name);
			c->dirs[i]->dir_name = xstrdup(root);
		}
}

char *cgroup_names_of(const CgControllerEntry *c)
{
	char *names = xstrdup(c->n_cnames ? c->cnames[0] : ""), *longer;
	size_t i;

	for (i = 1; i < c->n_cnames; i++) {
		longer = xasprintf("%s,%s", names, c->cnames[i]);
		free(names);
		names = longer;
	}
	return names;
}

int cgroup_roots_apply(const Options *o, CgroupEntry *image, struct fault *f)
{
	const char *root;
	size_t i;

	for (i = 0; i < image->n_controllers; i++) {
		AUTO_FREE char *names = cgroup_names_of(image->controllers[i]);

		if (cgroup_root_of(o, names, &root, f) < 0)
			return -1;
		if (root)
			move_to_root(image, image->controllers[i], root);
	}
	return 0;
}
