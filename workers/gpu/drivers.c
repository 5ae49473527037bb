/* SPDX-License-Identifier: MIT */
/*
 * drivers.c - the chain of drivers.
 *
 * A driver of ours is needed at a restore when something of it is in the images (driver.used), a
 * plugin when it says so itself (add_inventory_plugin). Ours may add a name that is none:
 * driver.mark.
 *
 * Rights:   none.
 * Holds:    the chain and the plugins, from drivers_begin to drivers_end.
 */
#include "workers/gpu/drivers.h"

#include <errno.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/gpu/amdgpu/amdgpu.h"
#include "workers/gpu/gpu.h"
#include "workers/gpu/host.h"
#include "workers/gpu/nvidia/nvidia.h"

/* In this order; the last row is empty. */
static struct driver *const native[] = {
	&amdgpu_driver,
	&nvidia_driver,
	NULL
};

struct drivers {
	enum driver_stage stage;
	struct host *host;
	struct driver **list;
	size_t n, cap;
	size_t begun;			/* those before this one have been init'ed */
};

static void add(struct drivers *all, struct driver *d)
{
	*(struct driver **)grow(&all->list, all->n++, &all->cap, sizeof(d)) = d;
}

static int init_all(struct drivers *all, struct fault *f)
{
	for (; all->begun < all->n; all->begun++) {
		struct driver *d = all->list[all->begun];

		if (d->ops->init && d->ops->init(d, all->stage, f) < 0)
			return fault_prefix(f, "%s", d->name);
	}
	return 0;
}

int drivers_begin(struct gpu *g, enum driver_stage stage, struct fault *f)
{
	struct drivers *all = g->drivers;
	struct driver *d;
	size_t i;

	if (all)
		return all->stage == stage ? 0 : fault(f, -EPROTO, "a dump and a restore at once");
	all = g->drivers = xcalloc(1, sizeof(*all));
	all->stage = stage;
	for (i = 0; native[i]; i++) {
		native[i]->gpu = g;
		native[i]->used = native[i]->marked = false;
		add(all, native[i]);
	}
	all->host = host_load(g, f);
	if (!all->host)
		return -1;
	for (i = 0; (d = host_plugin(all->host, i)); i++)
		add(all, d);
	return init_all(all, f);
}

enum hook_answer drivers_first(struct gpu *g, driver_asks *ask, void *arg, struct fault *f)
{
	struct drivers *all = g->drivers;
	enum hook_answer a = HOOK_NOT_MINE;
	size_t i;

	for (i = 0; all && i < all->n && a == HOOK_NOT_MINE; i++)
		a = ask(all->list[i], arg, f);
	if (a == HOOK_FAILED)
		fault_prefix(f, "%s", all->list[i - 1]->name);
	return a;
}

int drivers_each(struct gpu *g, driver_asks *ask, void *arg, struct fault *f)
{
	struct drivers *all = g->drivers;
	size_t i;

	for (i = 0; all && i < all->n; i++)
		if (ask(all->list[i], arg, f) == HOOK_FAILED)
			return fault_prefix(f, "%s", all->list[i]->name);
	return 0;
}

int drivers_for_tasks(struct gpu *g, const uint32_t *pids, size_t n, driver_asks *ask,
		      struct fault *f)
{
	size_t i;

	for (i = 0; i < n; i++) {
		pid_t pid = pids[i];

		if (drivers_first(g, ask, &pid, f) == HOOK_FAILED)
			return fault_prefix(f, "task %d", pid);
	}
	return 0;
}

static bool is_native(const char *name)
{
	size_t i;

	for (i = 0; native[i]; i++)
		if (!strcmp(native[i]->name, name) ||
		    (native[i]->mark && !strcmp(native[i]->mark, name)))
			return true;
	return false;
}

size_t drivers_needed(struct gpu *g, char ***names)
{
	const char *const *theirs;
	size_t n = 0, i, k;

	if (!g->drivers)
		return 0;
	k = host_inventory(g->drivers->host, &theirs);
	*names = xcalloc(2 * g->drivers->n + k, sizeof(char *));
	for (i = 0; native[i]; i++) {
		if (native[i]->used)
			(*names)[n++] = xstrdup(native[i]->name);
		if (native[i]->marked)
			(*names)[n++] = xstrdup(native[i]->mark);
	}
	for (i = 0; i < k; i++)
		(*names)[n++] = xstrdup(theirs[i]);
	return n;
}

const char *drivers_missing(struct gpu *g)
{
	const char *const *left;
	size_t n = host_inventory(g->drivers->host, &left), i;

	for (i = 0; i < n; i++)
		if (!is_native(left[i]))
			return left[i];
	return NULL;
}

void drivers_end(struct gpu *g, int result)
{
	struct drivers *all = take_ptr(&g->drivers);
	size_t i;

	if (!all)
		return;
	for (i = 0; i < all->begun; i++)
		if (all->list[i]->ops->exit)
			all->list[i]->ops->exit(all->list[i], all->stage, result);
	host_free(all->host);
	free(all->list);
	free(all);
}
