// SPDX-License-Identifier: MIT
/*
 * cgroup_limits.c - limits of the controllers of version 1: processors, memory, tasks, devices.
 * The cgroups are removed before the restore. A controller that this machine does not have in
 * version 1 is left out.
 */
#include "cgroup_root.h"

struct limit {
	const char *controller, *sub, *file, *value;
	bool reset;			/* devices: deny all first */
};

static const struct limit limits[] = {
	{ "cpu", "", "cpu.shares", "512\n", false },
	{ "cpu", "", "cpu.cfs_quota_us", "70000\n", false },
	{ "cpu", "below", "cpu.cfs_quota_us", "30000\n", false },
	{ "cpuset", "", "cpuset.cpus", "0\n", false },
	{ "cpuset", "", "cpuset.mems", "0\n", false },
	{ "memory", "", "memory.limit_in_bytes", "268435456\n", false },
	{ "memory", "below", "memory.swappiness", "20\n", false },
	{ "pids", "", "pids.max", "77\n", false },
	{ "pids", "below", "pids.max", "max\n", false },
	{ "devices", "", "devices.list", "b *:* m\nc *:* rwm\nc 1:3 rwm\n", true },
};

#define NLIMITS (sizeof(limits) / sizeof(limits[0]))

static bool first_of(size_t i)
{
	return !i || strcmp(limits[i].controller, limits[i - 1].controller);
}

static void put_limit(int root, const struct limit *l)
{
	char line[64];
	const char *p;
	size_t n;

	if (!l->reset) {
		cgroup_put(root, l->sub, l->file, l->value);
		return;
	}
	cgroup_put(root, l->sub, "devices.deny", "a");
	for (p = l->value; *p; p += n + 1) {
		n = strcspn(p, "\n");
		snprintf(line, sizeof(line), "%.*s", (int)n, p);
		cgroup_put(root, l->sub, "devices.allow", line);
	}
}

/* A machine with version 2 only has none of them. */
static int root_of(const struct limit *l)
{
	char line[512], wanted[64];
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	snprintf(wanted, sizeof(wanted), ":%s:", l->controller);
	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, wanted) != NULL;
	if (f)
		fclose(f);
	return found ? cgroup_root(l->controller) : -1;
}

static void before(void)
{
	int root, used = 0;
	size_t i;

	for (i = 0; i < NLIMITS; i++) {
		root = root_of(&limits[i]);
		if (root < 0)
			continue;
		close(cgroup_dir(root, "", true));
		if (*limits[i].sub)
			close(cgroup_dir(root, limits[i].sub, true));
		put_limit(root, &limits[i]);
		used++;
		close(root);
	}
	for (i = 0; i < NLIMITS; i++) {
		root = first_of(i) ? root_of(&limits[i]) : -1;
		if (root < 0)
			continue;
		cgroup_put(root, "", "cgroup.procs", "0");
		close(root);
	}
	if (!used)
		case_skip("no controller of version 1");
}

static void remove_all(void)
{
	size_t i;
	int root;

	for (i = NLIMITS; i-- > 0;) {
		root = root_of(&limits[i]);
		if (root < 0)
			continue;
		if (*limits[i].sub)
			cgroup_remove(root, limits[i].sub);
		if (first_of(i))
			cgroup_remove(root, "");
		close(root);
	}
}

static void after(void)
{
	size_t i;
	int root;

	for (i = 0; i < NLIMITS; i++) {
		root = root_of(&limits[i]);
		if (root < 0)
			continue;
		CHECK(cgroup_says(root, limits[i].sub, limits[i].file, limits[i].value));
		close(root);
	}
	for (i = 0; i < NLIMITS; i++) {
		root = first_of(i) ? root_of(&limits[i]) : -1;
		if (root < 0)
			continue;
		CHECK(cgroup_has(limits[i].controller, "", getpid()));
		cgroup_leave(root);
		close(root);
	}
	remove_all();
}

const struct test_case test_case = {
	.proves = "limits of cgroups come back",
	.needs_root = true,
	.before = before,
	.between = remove_all,
	.after = after,
};
