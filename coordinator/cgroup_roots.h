/* SPDX-License-Identifier: MIT */
/*
 * cgroup_roots.h - --cgroup-root: the cgroup that stands for a hierarchy's root.
 */
#ifndef STASIS_CGROUP_ROOTS_H
#define STASIS_CGROUP_ROOTS_H

#include <stdbool.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"
#include "proto/images/namespaces.pb-c.h"

/* Every [CONTROLLER:]/PATH has a path that can be used. */
int cgroup_roots_check(const Options *o, struct fault *f);

/*
 * The path given for a hierarchy (named as in /proc/PID/cgroup): the one for one of its
 * controllers, else the one for all. 0 with *root set, to NULL when none is given; -1 when two of
 * its controllers have different ones.
 */
int cgroup_root_of(const Options *o, const char *names, const char **root, struct fault *f);

/* Restore: move what the image has below its old roots to the new ones. */
int cgroup_roots_apply(const Options *o, CgroupEntry *image, struct fault *f);

/* The controllers of a hierarchy as /proc/PID/cgroup would name them. The caller frees it. */
char *cgroup_names_of(const CgControllerEntry *c);

/* Is path below dir, or dir itself? Both begin with '/'. Returns what follows dir, or NULL. */
const char *cgroup_path_below(const char *path, const char *dir);

/* parent and name with one '/' before each component; "/" for none. The caller frees it. */
char *cgroup_path_join(const char *parent, const char *name);

/* An absolute path without "." and ".." components. */
bool cgroup_path_good(const char *path);

#endif
