/* SPDX-License-Identifier: MIT */
/*
 * held.c - what NVIDIA has in a task, as /proc shows it.
 *
 * Device files are told by their path: only nvidia0.. and nvidiactl have a number of their own
 * (195), those of nvidia-uvm and nvidia-caps change from boot to boot.
 *
 * Rights:   ptrace access to the task.
 * Holds:    nothing.
 */
#include "workers/gpu/nvidia/held.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define DEVICES "/dev/nvidia"

bool held_is_device(const char *path)
{
	return !strncmp(path, DEVICES, strlen(DEVICES));
}

static int in_table(pid_t pid, struct fault *f)
{
	AUTO_CLOSEDIR DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *e;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir && errno == ENOENT)
		return 0;
	if (!dir)
		return fault(f, errno, "read %s", path);
	while ((e = readdir(dir))) {
		n = readlinkat(dirfd(dir), e->d_name, path, sizeof(path) - 1);
		if (n < 0)
			continue;
		path[n] = '\0';
		if (held_is_device(path))
			return HELD_DEVICE;
	}
	return 0;
}

int held_by(pid_t pid, struct fault *f)
{
	AUTO_FREE char *maps = NULL;
	pid_t speaker = procfs_living_thread(pid);
	struct fault own = { 0 };
	int held = 0, r;

	maps = procfs_read(speaker, 0, "maps", NULL, &own);
	if (!maps)
		return own.code == ESRCH || own.code == ENOENT ? 0 :
		       fault(f, -own.code, "%s", own.text);
	if (strstr(maps, " " DEVICES))
		held |= HELD_DEVICE;
	if (strstr(maps, "/libcuda.so"))
		held |= HELD_LIBRARY;
	r = held & HELD_DEVICE ? 0 : in_table(speaker, f);
	return r < 0 ? -1 : held | r;
}
