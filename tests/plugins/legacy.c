// SPDX-License-Identifier: MIT
/*
 * legacy.c - a plugin of before descriptors: functions with well-known names. It takes character
 * devices of major 10 and knows nothing of a retry.
 *
 *   PLUGIN_TRACE=FILE   a line for each call
 *
 * Built by tests/harness/plugins.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "abi.h"

int cr_plugin_init(void);
void cr_plugin_fini(void);
int cr_plugin_dump_file(int fd, int id);
int cr_plugin_restore_file(int id);

static void trace(const char *text)
{
	const char *path = getenv("PLUGIN_TRACE");
	FILE *f = path ? fopen(path, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "%s\n", text);
	fclose(f);
}

int cr_plugin_init(void)
{
	trace("legacy init");
	return 0;
}

void cr_plugin_fini(void)
{
	trace("legacy fini");
}

int cr_plugin_dump_file(int fd, int id)
{
	char self[40], path[200], name[40];
	struct stat st;
	ssize_t n;
	int img, r;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) != 10)
		return -ENOTSUP;
	trace("legacy dump_file");
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path));
	snprintf(name, sizeof(name), "legacy-%d.img", id);
	img = openat(criu_get_image_dir(), name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	r = n > 0 && img >= 0 && write(img, path, n) == n ? 0 : -1;
	close(img);
	return r;
}

int cr_plugin_restore_file(int id)
{
	char name[40], path[201] = "";
	int img;

	trace("legacy restore_file");
	snprintf(name, sizeof(name), "legacy-%d.img", id);
	img = openat(criu_get_image_dir(), name, O_RDONLY);
	if (img < 0 || read(img, path, sizeof(path) - 1) <= 0)
		return -ENOTSUP;
	close(img);
	return open(path, O_RDONLY);
}
