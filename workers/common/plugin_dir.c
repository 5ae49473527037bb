/* SPDX-License-Identifier: MIT */
/*
 * plugin_dir.c - where plugins are. For the gpu worker, which loads them, and the coordinator,
 * which starts that worker when there are any.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/common/plugin_dir.h"

#include <string.h>

#include "proto/control/util.h"

#define DEFAULT_DIR "/usr/lib/criu"

const char *plugin_dir(const Options *o)
{
	return o->libdir ? o->libdir : DEFAULT_DIR;
}

bool plugin_dir_asked(const Options *o)
{
	return o->libdir;
}

bool plugin_dir_is_plugin(const char *name)
{
	size_t n = strlen(name);

	return n >= 3 && !strcmp(name + n - 3, ".so");
}

const char *plugin_dir_replaced(const char *name)
{
	static const char *const replaced[] = { "amdgpu_plugin", "cuda_plugin" };
	size_t i, n;

	for (i = 0; i < ARRAY_LEN(replaced); i++) {
		n = strlen(replaced[i]);
		if (!strncmp(name, replaced[i], n) && !strcmp(name + n, ".so"))
			return replaced[i];
	}
	return NULL;
}

bool plugin_dir_any(const Options *o)
{
	AUTO_CLOSEDIR DIR *dir = opendir(plugin_dir(o));
	struct dirent *e;

	if (!dir)
		return plugin_dir_asked(o);
	while ((e = readdir(dir)))
		if (plugin_dir_is_plugin(e->d_name) && !plugin_dir_replaced(e->d_name))
			return true;
	return false;
}
