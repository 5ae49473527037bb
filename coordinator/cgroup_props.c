/* SPDX-License-Identifier: MIT */
/*
 * cgroup_props.c - which control files of a cgroup are dumped.
 *
 * A table from controller to file names; the order is the one in which a restore writes them. The
 * user changes it by --cgroup-props and --cgroup-props-file. A file that a kernel does not have is
 * passed over by who asks, so a controller's files of both cgroup versions stand in one row.
 *
 * Rights:   none.
 * Holds:    the table.
 */
#include "coordinator/cgroup_props.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/control/util.h"

#define FILE_SIZE_MAX (1 << 20)

struct controller {
	char *name;
	char **files;			/* ended by NULL */
	size_t n, cap;
};

struct cgroup_props {
	struct controller *list;
	size_t n, cap;
};

struct builtin {
	const char *name;
	const char *files[16];
};

static const struct builtin builtins[] = {
	{ "cpu", { "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.rt_period_us",
		   "cpu.rt_runtime_us",
		   "cpu.weight", "cpu.max" } },
	/* The limit before the limit with swap, which is never below it. */
	{ "memory", { "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness",
		      "memory.soft_limit_in_bytes", "memory.move_charge_at_immigrate",
		      "memory.oom_control", "memory.use_hierarchy", "memory.kmem.limit_in_bytes",
		      "memory.kmem.tcp.limit_in_bytes",
		      "memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max",
		      "memory.oom.group" } },
	{ "cpuset", { "cpuset.cpus", "cpuset.mems", "cpuset.memory_migrate",
		      "cpuset.cpu_exclusive", "cpuset.mem_exclusive", "cpuset.mem_hardwall",
		      "cpuset.memory_spread_page", "cpuset.memory_spread_slab",
		      "cpuset.sched_load_balance", "cpuset.sched_relax_domain_level" } },
	{ "blkio", { "blkio.weight" } },
	{ "io", { "io.weight" } },
	{ "freezer", { NULL } },
	{ "perf_event", { NULL } },
	{ "net_cls", { "net_cls.classid" } },
	{ "net_prio", { "net_prio.ifpriomap" } },
	{ "pids", { "pids.max" } },
	{ "devices", { "devices.list" } },
};

static const char *const common_v1[] = {
	"cgroup.clone_children", "notify_on_release", "cgroup.procs", "tasks", NULL
};

static const char *const common_v2[] = {
	"cgroup.subtree_control", "cgroup.max.descendants", "cgroup.max.depth", "cgroup.freeze",
	"cgroup.type", NULL
};

const char *const *cgroup_props_common(bool version2)
{
	return version2 ? common_v2 : common_v1;
}

static bool is_in(const char *name, const char *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

bool cgroup_prop_is_early(const char *name)
{
	static const char *const early[] = {
		"cpuset.cpus", "cpuset.mems", "devices.list", "memory.kmem.limit_in_bytes",
		"memory.swappiness", "memory.oom_control", "memory.use_hierarchy", "cgroup.type",
	};

	return is_in(name, early, ARRAY_LEN(early));
}

bool cgroup_prop_is_late(const char *name)
{
	static const char *const late[] = { "freezer.state", "cgroup.freeze" };

	return is_in(name, late, ARRAY_LEN(late));
}

bool cgroup_prop_good_name(const char *name)
{
	return *name && strlen(name) <= NAME_MAX && !strchr(name, '/') && strcmp(name, ".") &&
	       strcmp(name, "..");
}

/* ---- the table ---- */

static struct controller *find(const struct cgroup_props *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		if (strcmp(p->list[i].name, name) == 0)
			return &p->list[i];
	return NULL;
}

static struct controller *add_controller(struct cgroup_props *p, const char *name)
{
	struct controller *c = grow(&p->list, p->n, &p->cap, sizeof(*c));

	c->name = xstrdup(name);
	c->files = xcalloc(1, sizeof(*c->files));
	c->cap = 1;
	p->n++;
	return c;
}

/* A file that is there already keeps its place. */
static void add_file(struct controller *c, const char *name)
{
	if (is_in(name, (const char *const *)c->files, c->n))
		return;
	grow(&c->files, c->n + 1, &c->cap, sizeof(*c->files));
	c->files[c->n++] = xstrdup(name);
	c->files[c->n] = NULL;
}

static void clear_files(struct controller *c)
{
	while (c->n)
		free(c->files[--c->n]);
	c->files[0] = NULL;
}

struct cgroup_props *cgroup_props_new(void)
{
	struct cgroup_props *p = xcalloc(1, sizeof(*p));
	size_t i, k;

	for (i = 0; i < ARRAY_LEN(builtins); i++) {
		struct controller *c = add_controller(p, builtins[i].name);

		for (k = 0; k < ARRAY_LEN(builtins[i].files) && builtins[i].files[k]; k++)
			add_file(c, builtins[i].files[k]);
	}
	return p;
}

void cgroup_props_free(struct cgroup_props *p)
{
	size_t i;

	if (!p)
		return;
	for (i = 0; i < p->n; i++) {
		clear_files(&p->list[i]);
		free(p->list[i].files);
		free(p->list[i].name);
	}
	free(p->list);
	free(p);
}

const char *const *cgroup_props_of(const struct cgroup_props *p, const char *controller)
{
	const struct controller *c = find(p, controller);

	return c ? (const char *const *)c->files : NULL;
}

/* ---- the description ---- */

struct text {
	const char *p, *end;
	unsigned line;
};

static void skip_blanks(struct text *t)
{
	for (; t->p < t->end && strchr(" \t\r\n", *t->p) && *t->p; t->p++)
		t->line += *t->p == '\n';
}

static bool take_symbol(struct text *t, char symbol)
{
	skip_blanks(t);
	if (t->p == t->end || *t->p != symbol)
		return false;
	t->p++;
	return true;
}

static int want_symbol(struct text *t, char symbol, struct fault *f)
{
	if (take_symbol(t, symbol))
		return 0;
	return fault(f, -EINVAL, "cgroup properties, line %u: '%c' is missing", t->line, symbol);
}

/* A name in double quotes. The caller frees it. */
static char *want_name(struct text *t, const char *what, struct fault *f)
{
	const char *from, *to;
	char *name;

	skip_blanks(t);
	from = t->p < t->end && *t->p == '"' ? t->p + 1 : NULL;
	to = from ? memchr(from, '"', t->end - from) : NULL;
	if (!to || to == from || memchr(from, '\n', to - from) || memchr(from, '\0', to - from)) {
		fault(f, -EINVAL, "cgroup properties, line %u: %s in double quotes is missing",
		      t->line, what);
		return NULL;
	}
	name = xcalloc(to - from + 1, 1);
	memcpy(name, from, to - from);
	t->p = to + 1;
	return name;
}

/* - "KEY": */
static int want_key(struct text *t, const char *key, struct fault *f)
{
	AUTO_FREE char *name = NULL;

	if (want_symbol(t, '-', f) < 0)
		return -1;
	name = want_name(t, key, f);
	if (!name)
		return -1;
	if (strcmp(name, key) != 0)
		return fault(f, -EINVAL, "cgroup properties, line %u: \"%s\" stands where \"%s\" "
			     "belongs", t->line, name, key);
	return want_symbol(t, ':', f);
}

static int parse_files(struct text *t, struct controller *c, struct fault *f)
{
	if (want_symbol(t, '[', f) < 0)
		return -1;
	if (take_symbol(t, ']'))
		return 0;
	do {
		AUTO_FREE char *name = want_name(t, "the name of a control file", f);

		if (!name)
			return -1;
		if (!cgroup_prop_good_name(name))
			return fault(f, -EINVAL, "cgroup properties, line %u: %s is no name of a "
				     "control file", t->line, name);
		add_file(c, name);
	} while (take_symbol(t, ','));
	return want_symbol(t, ']', f);
}

static int parse_controller(struct cgroup_props *p, struct text *t, struct fault *f)
{
	AUTO_FREE char *name = want_name(t, "the name of a controller", f);
	AUTO_FREE char *strategy = NULL;
	struct controller *c;

	if (!name || want_symbol(t, ':', f) < 0 || want_key(t, "strategy", f) < 0)
		return -1;
	strategy = want_name(t, "merge or replace", f);
	if (!strategy)
		return -1;
	if (strcmp(strategy, "merge") && strcmp(strategy, "replace"))
		return fault(f, -EINVAL, "cgroup properties, line %u: the strategy \"%s\" of %s is "
			     "neither merge nor replace", t->line, strategy, name);
	if (want_key(t, "properties", f) < 0)
		return -1;
	c = find(p, name);
	if (!c)
		c = add_controller(p, name);
	else if (strcmp(strategy, "replace") == 0)
		clear_files(c);
	return parse_files(t, c, f);
}

int cgroup_props_parse(struct cgroup_props *p, const char *text, size_t len, struct fault *f)
{
	struct text t = { text, text + len, 1 };

	for (skip_blanks(&t); t.p < t.end; skip_blanks(&t))
		if (parse_controller(p, &t, f) < 0)
			return -1;
	return 0;
}

int cgroup_props_parse_file(struct cgroup_props *p, int dir, const char *path, struct fault *f)
{
	AUTO_CLOSE int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	AUTO_FREE char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fault(f, errno, "--cgroup-props-file %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
		return fault(f, -EINVAL, "--cgroup-props-file %s: not a file of at most %d bytes",
			     path, FILE_SIZE_MAX);
	text = xcalloc(st.st_size + 1, 1);
	n = read_full(fd, text, st.st_size);
	if (n < 0)
		return fault(f, errno, "read --cgroup-props-file %s", path);
	if (cgroup_props_parse(p, text, n, f) < 0)
		return fault_prefix(f, "%s", path);
	return 0;
}
