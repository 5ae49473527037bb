/* SPDX-License-Identifier: MIT */
/*
 * cgroup_root.h - for cases: hierarchies of cgroups without mounting them anywhere.
 */
#ifndef TESTS_CGROUP_ROOT_H
#define TESTS_CGROUP_ROOT_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

/* The root of a hierarchy, named as in /proc/PID/cgroup; -1 when it is not to be had. */
static inline int cgroup_root(const char *name)
{
	int fs = syscall(SYS_fsopen, *name ? "cgroup" : "cgroup2", FSOPEN_CLOEXEC), r = 0, fd = -1;

	if (!strncmp(name, "name=", 5))
		r = syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "none", NULL, 0) ?:
		    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "name", name + 5, 0);
	else if (*name)
		r = syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, name, NULL, 0);
	if (fs >= 0 && !r && !syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		fd = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fs >= 0)
		close(fs);
	return fd;
}

/* A name that no other run of the tests has. */
static inline const char *cgroup_name(void)
{
	static char name[64];
	struct stat st = { 0 };

	if (!*name && CHECK(stat("/proc/self/ns/mnt", &st) == 0))
		snprintf(name, sizeof(name), "stasis-cr-%lu", (unsigned long)st.st_ino);
	return name;
}

/* Open the directory "NAME" or "NAME/SUB" of a hierarchy; make it when it is not there. */
static inline int cgroup_dir(int root, const char *sub, bool make)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s%s%s", cgroup_name(), *sub ? "/" : "", sub);
	if (make)
		CHECK(mkdirat(root, path, 0755) == 0 || errno == EEXIST);
	fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

/* Remove it; tasks that were killed may need a moment to leave. */
static inline void cgroup_remove(int root, const char *sub)
{
	char path[256];
	int i, r = -1;

	snprintf(path, sizeof(path), "%s%s%s", cgroup_name(), *sub ? "/" : "", sub);
	for (i = 0; i < 300 && r < 0; i++) {
		r = unlinkat(root, path, AT_REMOVEDIR);
		if (r < 0 && errno != EBUSY)
			break;
		if (r < 0)
			case_sleep_ms(10);
	}
	CHECK(r == 0);
}

static inline bool cgroup_put(int root, const char *sub, const char *file, const char *text)
{
	int dir = cgroup_dir(root, sub, false), fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	CHECK(ok);
	close(fd);
	close(dir);
	return ok;
}

static inline bool cgroup_says(int root, const char *sub, const char *file, const char *text)
{
	int dir = cgroup_dir(root, sub, false), fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	char got[4096] = "";
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);

	close(fd);
	close(dir);
	if (n >= 0 && !strcmp(got, text))
		return true;
	fprintf(stderr, "%s/%s is \"%s\", not \"%s\"\n", sub, file, got, text);
	return false;
}

/* Is a thread of ours in NAME/SUB of the hierarchy? */
static inline bool cgroup_has(const char *hierarchy, const char *sub, pid_t tid)
{
	char path[64], line[512], wanted[512];
	bool found = false;
	FILE *f;

	snprintf(wanted, sizeof(wanted), ":%s:/%s%s%s\n", hierarchy, cgroup_name(), *sub ? "/" : "",
		 sub);
	snprintf(path, sizeof(path), "/proc/%d/cgroup", tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strchr(line, ':') && !strcmp(strchr(line, ':'), wanted))
			found = true;
	if (f)
		fclose(f);
	return found;
}

/* Ourselves, all threads, back to the root. */
static inline void cgroup_leave(int root)
{
	int fd = openat(root, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, "0", 1) == 1);
	close(fd);
}

#endif
