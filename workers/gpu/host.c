/* SPDX-License-Identifier: MIT */
/*
 * host.c - load plugins and judge their descriptors.
 *
 * Facts: criu-plugin.h and plugin.c of CRIU 4.2 and of 2cf8f13ca (15 hooks). One difference: CRIU
 * loads lazily, so that a plugin which uses a function that nobody has runs until it calls it. Here
 * every name must be there at once: a plugin that was written for CRIU's inside (opts, compel_*,
 * ...) is refused by the name it needs, before a line of it runs.
 *
 * Rights:   whatever plugins do.
 * Holds:    the plugins, until host_free.
 */
#include "workers/gpu/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/plugin_dir.h"
#include "workers/gpu/gpu.h"

struct host {
	struct gpu *gpu;
	struct plugin **plugin;
	size_t n, cap;
	char **inventory;
	size_t ninventory, inventory_cap;
};

/* By hook; of plugins without a descriptor. */
static const char *const legacy_names[PLUGIN_HOOKS] = {
	"cr_plugin_dump_unix_sk", "cr_plugin_restore_unix_sk", "cr_plugin_dump_file",
	"cr_plugin_restore_file", "cr_plugin_dump_ext_mount", "cr_plugin_restore_ext_mount",
	"cr_plugin_dump_ext_link", "cr_plugin_handle_device_vma", "cr_plugin_update_vma_map",
	"cr_plugin_resume_devices_late", "cr_plugin_pause_devices", "cr_plugin_checkpoint_devices",
	"cr_plugin_post_forking", "cr_plugin_restore_init", "cr_plugin_dump_devices_late",
};

/* ISO C knows no conversion between pointers to objects and to functions; POSIX has dlsym do it. */
static void *find_symbol(void *handle, const char *name)
{
	return dlsym(handle, name);
}

static void describe_legacy(struct plugin *p, const char *path)
{
	struct plugin_desc *d = &p->own;
	void *symbol;
	size_t i;

	for (i = 0; i < PLUGIN_HOOKS; i++)
		d->hooks[i] = find_symbol(p->handle, legacy_names[i]);
	symbol = find_symbol(p->handle, "cr_plugin_init");
	memcpy(&d->init, &symbol, sizeof(symbol));
	symbol = find_symbol(p->handle, "cr_plugin_fini");
	memcpy(&d->exit, &symbol, sizeof(symbol));
	d->name = p->path = xstrdup(path);
	d->version = PLUGIN_VERSION_OLD;
	d->max_hooks = PLUGIN_HOOKS;
	p->desc = d;
	log_info("plugin %s has no descriptor: its hooks are found by the names of their functions",
		 path);
}

const char *host_check_desc(const struct plugin_desc *d)
{
	if (d->version > PLUGIN_VERSION)
		return "it is of a newer version of the plugin interface than 0.2: a newer Stasis "
		       "is needed, or the plugin of an older release";
	if (d->max_hooks > PLUGIN_HOOKS)
		return "it has more hooks than the 15 that are known here: a newer Stasis is "
		       "needed, or the plugin of an older release";
	if (d->version < PLUGIN_VERSION_OLD || !d->name)
		return "its descriptor (CR_PLUGIN_DESC) is damaged";
	return NULL;
}

/*
 * The name a plugin needs and nobody has, from dlerror's sentence; NULL when something else is
 * wrong.
 */
static const char *missing_symbol(const char *why)
{
	static const char mark[] = "undefined symbol: ";
	const char *at = why ? strstr(why, mark) : NULL;

	return at ? at + strlen(mark) : NULL;
}

/* Returns whether that is left at a warning: a plugin for CRIU alone that nobody asked for. */
static bool cannot_load(const struct host *h, const char *path, struct fault *f)
{
	const char *why = dlerror(), *symbol = missing_symbol(why);
	char text[400];

	if (!symbol) {
		fault(f, -ELIBBAD, "load plugin %s: %s", path, why ? why : "no reason is given");
		return false;
	}
	snprintf(text, sizeof(text), "plugin %.200s needs %.60s, which is CRIU's own and not part "
		 "of its plugin interface: it runs in CRIU only", path, symbol);
	if (!plugin_dir_asked(gpu_opts(h->gpu))) {
		log_warnx("%s; left out", text);
		return true;
	}
	fault(f, -ELIBBAD, "%s; take it out of the folder of plugins", text);
	return false;
}

static void free_plugin(struct plugin *p)
{
	if (p->handle)
		dlclose(p->handle);
	free(p->path);
	free(p);
}

static int load(struct host *h, const char *path, struct fault *f)
{
	struct plugin *p = xcalloc(1, sizeof(*p));
	const char *wrong;

	p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!p->handle) {
		free_plugin(p);
		return cannot_load(h, path, f) ? 0 : -1;
	}
	*(struct plugin **)grow(&h->plugin, h->n++, &h->cap, sizeof(p)) = p;
	p->desc = find_symbol(p->handle, "CR_PLUGIN_DESC");
	if (!p->desc)
		describe_legacy(p, path);
	wrong = host_check_desc(p->desc);
	if (wrong)
		return fault(f, -ELIBBAD, "plugin %s: %s", path, wrong);
	p->driver = (struct driver){
		.name = p->desc->name, .ops = &plugin_ops, .gpu = h->gpu, .ctx = p
	};
	log_debug("plugin %s: %s, version %#x, %u hooks", path, p->desc->name, p->desc->version,
		  p->desc->max_hooks);
	return 0;
}

static int load_all(struct host *h, DIR *dir, const char *path, struct fault *f)
{
	char file[PATH_MAX];
	struct dirent *e;

	while ((e = readdir(dir))) {
		if (!plugin_dir_is_plugin(e->d_name))
			continue;
		if (plugin_dir_replaced(e->d_name)) {
			log_info("plugin %s/%s is not loaded: its devices are handled here", path,
				 e->d_name);
			continue;
		}
		if (snprintf(file, sizeof(file), "%s/%s", path, e->d_name) >= (int)sizeof(file))
			return fault(f, -ENAMETOOLONG, "load plugin %s of %s", e->d_name, path);
		/*
		 * dlopen takes a name without a slash for one to look for in the system's folders.
		 */
		if (load(h, file, f) < 0)
			return -1;
	}
	return 0;
}

struct host *host_load(struct gpu *g, struct fault *f)
{
	struct host *h = xcalloc(1, sizeof(*h));
	const char *path = plugin_dir(gpu_opts(g));
	AUTO_CLOSEDIR DIR *dir = opendir(path);
	size_t i;

	h->gpu = g;
	host_api_begin(h);
	for (i = 0; g->prepared && i < g->prepared->n_required; i++)
		host_inventory_add(h, g->prepared->required[i]);
	if ((!dir && plugin_dir_asked(gpu_opts(g)) &&
	     fault(f, errno, "open the folder of plugins %s", path) < 0) ||
	    (dir && load_all(h, dir, path, f) < 0)) {
		host_free(h);
		return NULL;
	}
	return h;
}

struct driver *host_plugin(struct host *h, size_t i)
{
	return i < h->n ? &h->plugin[i]->driver : NULL;
}

struct gpu *host_gpu(const struct host *h)
{
	return h->gpu;
}

size_t host_inventory(const struct host *h, const char *const **names)
{
	*names = (const char *const *)h->inventory;
	return h->ninventory;
}

void host_inventory_add(struct host *h, const char *name)
{
	size_t i;

	for (i = 0; i < h->ninventory; i++)
		if (!strcmp(h->inventory[i], name))
			return;
	*(char **)grow(&h->inventory, h->ninventory++, &h->inventory_cap, sizeof(char *)) =
		xstrdup(name);
}

bool host_inventory_take(struct host *h, const char *name, size_t n)
{
	size_t i;

	for (i = 0; i < h->ninventory; i++)
		if (!strncmp(name, h->inventory[i], n)) {
			free(h->inventory[i]);
			memmove(&h->inventory[i], &h->inventory[i + 1],
				(--h->ninventory - i) * sizeof(*h->inventory));
			return true;
		}
	return false;
}

void host_free(struct host *h)
{
	size_t i;

	if (!h)
		return;
	for (i = 0; i < h->n; i++)
		free_plugin(h->plugin[i]);
	host_api_end();
	for (i = 0; i < h->ninventory; i++)
		free(h->inventory[i]);
	free(h->inventory);
	free(h->plugin);
	free(h);
}
