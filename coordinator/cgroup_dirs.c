/* SPDX-License-Identifier: MIT */
/*
 * cgroup_dirs.c - directories of cgroups with their properties, both directions.
 *
 * Dump:     control files the table names, owner and mode of each and of the directory; with all
 *           directories below. A cgroup that disappears meanwhile is not recorded.
 * Restore:  in three steps: directories with what must be written while they are empty, before
 *           any task exists; the rest when the tasks are in and complete; what stops them when
 *           they run.
 *           The root of a hierarchy is nobody's: it is never changed.
 *
 * Rights:   as cgroup_fs.c.
 * Holds:    the list of directories made, so that a failed restore can remove them.
 */
#include "coordinator/cgroup_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "coordinator/cgroup_roots.h"
#include "proto/control/util.h"
#include "workers/common/log.h"

#define DEPTH_MAX 90			/* image_read takes 100 nested messages */
#define REMOVE_TRIES 100		/* killed tasks may take a moment to leave */

/* ---- dump ---- */

struct walk {
	const struct cgroup_props *props;
	CgControllerEntry *c;
	bool version2;
	unsigned depth;
};

static CgroupPerms *perms_of(const struct stat *st)
{
	CgroupPerms *p = xcalloc(1, sizeof(*p));

	cgroup_perms__init(p);
	p->mode = st->st_mode;
	p->uid = st->st_uid;
	p->gid = st->st_gid;
	return p;
}

static bool has_property(const CgroupDirEntry *e, const char *name)
{
	size_t i;

	for (i = 0; i < e->n_properties; i++)
		if (strcmp(e->properties[i]->name, name) == 0)
			return true;
	return false;
}

static int add_property(struct walk *w, int dir, const char *name, CgroupDirEntry *e, size_t *cap,
			struct fault *f)
{
	CgroupPropEntry *p, **slot;
	struct stat st;
	char *value;

	if (has_property(e, name))
		return 0;
	value = cgroup_file_read(dir, name, &st, f);
	if (!value)
		return f->code ? -1 : 0;
	p = xcalloc(1, sizeof(*p));
	cgroup_prop_entry__init(p);
	p->name = xstrdup(name);
	p->value = value;
	p->perms = perms_of(&st);
	slot = grow(&e->properties, e->n_properties, cap, sizeof(*slot));
	*slot = p;
	e->n_properties++;
	/* Threads may be in different cgroups: always in version 1. */
	if (!strcmp(name, "tasks") || (!strcmp(name, "cgroup.type") && !strcmp(value, "threaded")))
		w->c->is_threaded = true;
	return 0;
}

static int add_files(struct walk *w, int dir, const char *const *names, CgroupDirEntry *e,
		     size_t *cap, struct fault *f)
{
	for (; names && *names; names++) {
		/* In version 2 such a file is there only when it is too late for it. */
		if (w->version2 && names != cgroup_props_common(true) &&
		    cgroup_prop_is_early(*names) && strcmp(*names, "cgroup.type"))
			continue;
		if (add_property(w, dir, *names, e, cap, f) < 0)
			return -1;
	}
	return 0;
}

/* Version 2 has all its controllers in one hierarchy: those switched on here. */
static int add_properties(struct walk *w, int dir, CgroupDirEntry *e, struct fault *f)
{
	AUTO_FREE char *controllers = NULL;
	char *one, *rest;
	struct stat st;
	size_t cap = 0, i;

	if (!w->version2) {
		for (i = 0; i < w->c->n_cnames; i++)
			if (add_files(w, dir, cgroup_props_of(w->props, w->c->cnames[i]), e, &cap,
				      f) < 0)
				return -1;
		return add_files(w, dir, cgroup_props_common(false), e, &cap, f);
	}
	controllers = cgroup_file_read(dir, "cgroup.controllers", &st, f);
	for (rest = controllers; rest && (one = strsep(&rest, " "));)
		if (add_files(w, dir, cgroup_props_of(w->props, one), e, &cap, f) < 0)
			return -1;
	return f->code ? -1 : add_files(w, dir, cgroup_props_common(true), e, &cap, f);
}

static CgroupDirEntry *dump_dir(struct walk *w, int fd, const char *name, bool below,
				struct fault *f);

static int add_child(struct walk *w, int dir, const char *name, CgroupDirEntry *e, size_t *cap,
		     struct fault *f)
{
	AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CgroupDirEntry *child, **slot;

	if (fd < 0)
		return errno == ENOENT || errno == ENODEV ? 0 : fault(f, errno, "open");
	child = dump_dir(w, fd, name, true, f);
	if (!child)
		return f->code ? fault_prefix(f, "%s", name) : 0;
	slot = grow(&e->children, e->n_children, cap, sizeof(*slot));
	*slot = child;
	e->n_children++;
	return 0;
}

static int add_children(struct walk *w, int fd, CgroupDirEntry *e, struct fault *f)
{
	AUTO_CLOSE int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSEDIR DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *d;
	size_t cap = 0;

	if (!dir)
		return errno == ENOENT || errno == ENODEV ? 0 : fault(f, errno, "open");
	take_fd(&copy);
	if (++w->depth > DEPTH_MAX)
		return fault(f, -E2BIG, "cgroups are nested deeper than an image can say");
	while ((d = readdir(dir)))
		if (d->d_type == DT_DIR && strcmp(d->d_name, ".") && strcmp(d->d_name, "..") &&
		    add_child(w, fd, d->d_name, e, &cap, f) < 0)
			return -1;
	w->depth--;
	return 0;
}

/* NULL with a fault, or without one when the cgroup is gone. */
static CgroupDirEntry *dump_dir(struct walk *w, int fd, const char *name, bool below,
				struct fault *f)
{
	CgroupDirEntry *e = xcalloc(1, sizeof(*e));
	struct stat st;
	int r;

	cgroup_dir_entry__init(e);
	e->dir_name = xstrdup(name);
	r = fstat(fd, &st);
	if (r < 0)
		fault(f, errno, "look at the cgroup");
	else
		e->dir_perms = perms_of(&st);
	if (r == 0 && add_properties(w, fd, e, f) == 0 &&
	    (!below || add_children(w, fd, e, f) == 0) && fstatat(fd, "cgroup.procs", &st, 0) == 0)
		return e;
	cgroup_dir_entry__free_unpacked(e, NULL);
	return NULL;
}

int cgroup_dirs_dump(struct cgroup_fs *fs, const struct cgroup_props *props, const char *path,
		     bool below, CgControllerEntry *c, struct fault *f)
{
	AUTO_FREE char *names = cgroup_names_of(c), *clean = cgroup_path_join("", path);
	struct walk w = { props, c, !*names, 0 };
	int root = cgroup_fs_root(fs, names, f);
	AUTO_CLOSE int fd = -1;
	CgroupDirEntry *e = NULL;

	if (root < 0)
		return -1;
	fd = openat(root, clean[1] ? clean + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		e = dump_dir(&w, fd, clean + 1, below, f);
	if (!e)
		return f->code ? fault_prefix(f, "cgroup %s of hierarchy %.80s", clean,
					      cgroup_fs_title(names)) :
			fault(f, ENOENT, "open the cgroup %s of hierarchy %.80s", clean,
			      cgroup_fs_title(names));
	c->dirs = xrealloc(c->dirs, c->n_dirs + 1, sizeof(*c->dirs));
	c->dirs[c->n_dirs++] = e;
	return 0;
}

/* ---- restore: directories ---- */

struct made {
	int root;
	char *path;
};

struct cgroup_dirs {
	struct cgroup_fs *fs;
	enum cgroup_mode mode;
	struct made *made;		/* parents before children */
	size_t n, cap;
};

struct cgroup_dirs *cgroup_dirs_new(struct cgroup_fs *fs, enum cgroup_mode mode)
{
	struct cgroup_dirs *d = xcalloc(1, sizeof(*d));

	d->fs = fs;
	d->mode = mode;
	return d;
}

void cgroup_dirs_free(struct cgroup_dirs *d)
{
	size_t i;

	if (!d)
		return;
	for (i = 0; i < d->n; i++)
		free(d->made[i].path);
	free(d->made);
	free(d);
}

static bool is_made(const struct cgroup_dirs *d, int root, const char *path)
{
	size_t i;

	for (i = 0; i < d->n; i++)
		if (d->made[i].root == root && strcmp(d->made[i].path, path) == 0)
			return true;
	return false;
}

/* Make one directory. 1 when it is new, 0 when it was there. */
static int make_one(struct cgroup_dirs *d, int root, int parent, const char *name,
		    const char *path, struct fault *f)
{
	struct made *m;

	if (faccessat(parent, name, F_OK, 0) == 0)
		return 0;
	if (d->mode == CGROUP_NONE || d->mode == CGROUP_PROPS)
		return fault(f, -ENOENT, "the cgroup %s does not exist; --manage-cgroups=soft "
			     "makes it", path);
	if (mkdirat(parent, name, 0755) < 0)
		return errno == EEXIST ? 0 : fault(f, errno, "make the cgroup %s", path);
	m = grow(&d->made, d->n, &d->cap, sizeof(*m));
	m->root = root;
	m->path = xstrdup(path);
	d->n++;
	return 1;
}

int cgroup_dirs_open(struct cgroup_dirs *d, int root, const char *path, struct fault *f)
{
	AUTO_CLOSE int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *copy = xstrdup(path), *here = xstrdup("/");
	char *name, *rest = copy;
	int next, made;

	while (fd >= 0 && (name = strsep(&rest, "/"))) {
		char *longer;

		if (!*name)
			continue;
		longer = cgroup_path_join(here, name);
		free(here);
		here = longer;
		made = make_one(d, root, fd, name, here, f);
		if (made < 0)
			return -1;
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
		if (made && fd >= 0)
			cgroup_inherit_cpuset(fd);
	}
	if (fd < 0)
		return fault(f, errno, "open the cgroup %s", path);
	return take_fd(&fd);
}

static void drop_properties(CgroupDirEntry *e)
{
	while (e->n_properties)
		cgroup_prop_entry__free_unpacked(e->properties[--e->n_properties], NULL);
}

static int write_once(int fd, const char *path, const CgroupDirEntry *e,
		      bool (*wanted)(const char *name), struct fault *f)
{
	int r = 0;
	size_t i;

	for (i = 0; i < e->n_properties; i++)
		if (wanted(e->properties[i]->name) &&
		    cgroup_file_restore(fd, path, e->properties[i], f) < 0)
			r = -1;
	return r;
}

/*
 * Limits bound one another (those with swap and without): what is refused at first is tried again
 * when the others are in place.
 */
static int write_properties(int fd, const char *path, const CgroupDirEntry *e,
			    bool (*wanted)(const char *name), struct fault *f)
{
	struct fault first = { 0 };

	if (write_once(fd, path, e, wanted, &first) == 0)
		return 0;
	return write_once(fd, path, e, wanted, f);
}

/* A directory that was there before us: what becomes of it depends on the mode. */
static int settle_existing(const struct cgroup_dirs *d, int fd, const char *path,
			   CgroupDirEntry *e, struct fault *f)
{
	if (d->mode == CGROUP_STRICT)
		return fault(f, -EEXIST, "the cgroup %s exists already, which --manage-cgroups="
			     "strict forbids", path);
	if (d->mode == CGROUP_SOFT || d->mode == CGROUP_NONE)
		drop_properties(e);
	return d->mode == CGROUP_NONE ? 0 : cgroup_dir_permit(fd, path, e->dir_perms, f);
}

static int make_dir(struct cgroup_dirs *d, int root, const char *parent, CgroupDirEntry *e,
		    struct fault *f)
{
	AUTO_FREE char *path = cgroup_path_join(parent, e->dir_name);
	AUTO_CLOSE int fd = cgroup_dirs_open(d, root, path, f);
	size_t i;

	if (fd < 0)
		return -1;
	if (strcmp(path, "/") == 0)
		drop_properties(e);
	else if (!is_made(d, root, path)) {
		if (settle_existing(d, fd, path, e, f) < 0)
			return -1;
	} else if (cgroup_dir_permit(fd, path, e->dir_perms, f) < 0 ||
		   write_properties(fd, path, e, cgroup_prop_is_early, f) < 0) {
		return -1;
	}
	for (i = 0; i < e->n_children; i++)
		if (make_dir(d, root, path, e->children[i], f) < 0)
			return -1;
	return 0;
}

/* The root of a hierarchy without anything below: the hierarchy need not even be here. */
static bool is_bare_root(const CgroupDirEntry *e)
{
	return !e->n_children && !e->dir_name[strspn(e->dir_name, "/")];
}

static bool has_work(const CgControllerEntry *c)
{
	size_t i;

	for (i = 0; i < c->n_dirs; i++)
		if (!is_bare_root(c->dirs[i]))
			return true;
	return false;
}

int cgroup_dirs_make(struct cgroup_dirs *d, CgControllerEntry *c, struct fault *f)
{
	AUTO_FREE char *names = cgroup_names_of(c);
	size_t i;
	int root;

	if (!has_work(c))
		return 0;
	root = cgroup_fs_root(d->fs, names, f);
	if (root < 0)
		return -1;
	for (i = 0; i < c->n_dirs; i++)
		if (make_dir(d, root, "/", c->dirs[i], f) < 0)
			return fault_prefix(f, "hierarchy %.80s", cgroup_fs_title(names));
	return 0;
}

static void remove_one(const struct made *m)
{
	const struct timespec moment = { 0, 10 * 1000 * 1000 };
	unsigned i;

	for (i = 0; i < REMOVE_TRIES; i++) {
		if (unlinkat(m->root, m->path + 1, AT_REMOVEDIR) == 0 || errno != EBUSY)
			return;
		nanosleep(&moment, NULL);
	}
	log_warnx("the cgroup %s of this restore is in use and stays", m->path);
}

void cgroup_dirs_remove(struct cgroup_dirs *d)
{
	while (d->n) {
		remove_one(&d->made[--d->n]);
		free(d->made[d->n].path);
	}
}

/* ---- restore: properties ---- */

static bool is_rest(const char *name)
{
	return !cgroup_prop_is_early(name) && !cgroup_prop_is_late(name);
}

/* Parents first: their subtree_control brings the children's files of version 2. */
static int write_dir(int root, const char *parent, const CgroupDirEntry *e, bool late,
		     struct fault *f)
{
	AUTO_FREE char *path = cgroup_path_join(parent, e->dir_name);
	AUTO_CLOSE int fd = -1;
	size_t i;

	if (e->n_properties) {
		fd = openat(root, path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return fault(f, errno, "open the cgroup %s", path);
		if (write_properties(fd, path, e, late ? cgroup_prop_is_late : is_rest, f) < 0)
			return -1;
	}
	for (i = 0; i < e->n_children; i++)
		if (write_dir(root, path, e->children[i], late, f) < 0)
			return -1;
	return 0;
}

int cgroup_dirs_write(struct cgroup_dirs *d, const CgControllerEntry *c, bool late,
		      struct fault *f)
{
	AUTO_FREE char *names = cgroup_names_of(c);
	size_t i;
	int root;

	if (!has_work(c))
		return 0;
	root = cgroup_fs_root(d->fs, names, f);
	if (root < 0)
		return -1;
	for (i = 0; i < c->n_dirs; i++)
		if (write_dir(root, "/", c->dirs[i], late, f) < 0)
			return fault_prefix(f, "hierarchy %.80s", cgroup_fs_title(names));
	return 0;
}
