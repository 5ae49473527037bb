/* SPDX-License-Identifier: MIT */
/*
 * cgroup_fs.h - the cgroup hierarchies of this machine and their control files.
 */
#ifndef STASIS_CGROUP_FS_H
#define STASIS_CGROUP_FS_H

#include <sys/stat.h>

#include "coordinator/job.h"
#include "proto/images/namespaces.pb-c.h"

/* What --manage-cgroups asks for. */
enum cgroup_mode {
	CGROUP_IGNORE,		/* tasks stay in our own cgroups */
	CGROUP_NONE,		/* directories must exist and are left as they are */
	CGROUP_PROPS,		/* directories must exist, their properties are restored */
	CGROUP_SOFT,		/* missing ones are made with their properties, others left */
	CGROUP_FULL,		/* missing ones are made, properties of all are restored */
	CGROUP_STRICT,		/* all are made, none may exist */
};

/* 0 with *mode set; no text is soft. -1 when there is no such mode. */
int cgroup_mode_parse(const char *text, enum cgroup_mode *mode);

struct cgroup_fs;

struct cgroup_fs *cgroup_fs_new(const struct job *job);
void cgroup_fs_free(struct cgroup_fs *fs);

/*
 * The root of a hierarchy, named as in /proc/PID/cgroup ("cpu,cpuacct", "name=systemd", "" for
 * version 2). The descriptor stays ours.
 */
int cgroup_fs_root(struct cgroup_fs *fs, const char *name, struct fault *f);

/* How a fault speaks of a hierarchy. */
const char *cgroup_fs_title(const char *name);

/* Does a list of names as in /proc/PID/cgroup have this one? */
bool cgroup_names_have(const char *names, const char *one);

/*
 * Take one line "N:NAMES:PATH" apart, in place. Returns the next line, NULL at the end or when
 * it is not such a line.
 */
char *cgroup_split_line(char *line, char **names, char **path);

/*
 * The value of a control file as the image has it. NULL without a fault when there is no such file
 * or its cgroup is gone.
 */
char *cgroup_file_read(int dir, const char *name, struct stat *st, struct fault *f);

/* Give a control file of the directory its value and permissions; where is for faults. */
int cgroup_file_restore(int dir, const char *where, const CgroupPropEntry *e, struct fault *f);

/* Give a cgroup's directory its permissions. perms may be NULL. */
int cgroup_dir_permit(int dir, const char *where, const CgroupPerms *perms, struct fault *f);

/* A new cgroup of cpuset takes no task before it has processors and memory: its parent's. */
void cgroup_inherit_cpuset(int dir);

#endif
