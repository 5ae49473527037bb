// SPDX-License-Identifier: MIT
/*
 * private.c - a plugin that needs CRIU's inside: it must be refused before a line of it runs.
 *
 *   PLUGIN_TRACE=FILE   receives a line when one did run
 *
 * Built by tests/harness/plugins.py.
 */
#include <stdio.h>
#include <stdlib.h>

#include "abi.h"

int compel_wait_task(int pid, int ppid);

extern struct desc CR_PLUGIN_DESC;

static void __attribute__((constructor)) ran(void)
{
	const char *path = getenv("PLUGIN_TRACE");
	FILE *f = path ? fopen(path, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "private ran\n");
	fclose(f);
}

static int pause_devices(int pid)
{
	return compel_wait_task(pid, 0);
}

struct desc CR_PLUGIN_DESC = {
	.name = "private_plugin", .version = VERSION_02, .max_hooks = HOOKS,
	.hooks = { [PAUSE_DEVICES] = pause_devices },
};
