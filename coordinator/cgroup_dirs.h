/* SPDX-License-Identifier: MIT */
/*
 * cgroup_dirs.h - directories of cgroups with their properties, both directions.
 */
#ifndef STASIS_CGROUP_DIRS_H
#define STASIS_CGROUP_DIRS_H

#include "coordinator/cgroup_fs.h"
#include "coordinator/cgroup_props.h"

/*
 * Dump: add a directory of the hierarchy with everything in it (below: also below it) to the
 * controller's entry.
 */
int cgroup_dirs_dump(struct cgroup_fs *fs, const struct cgroup_props *props, const char *path,
		     bool below, CgControllerEntry *c, struct fault *f);

struct cgroup_dirs;			/* what a restore has made */

struct cgroup_dirs *cgroup_dirs_new(struct cgroup_fs *fs, enum cgroup_mode mode);
/* Directories stay as they are. */
void cgroup_dirs_free(struct cgroup_dirs *d);

/*
 * Make the image's directories of a hierarchy, as the mode wants it, with the properties that must
 * be there early. Entries whose properties the mode leaves alone lose them.
 */
int cgroup_dirs_make(struct cgroup_dirs *d, CgControllerEntry *c, struct fault *f);

/* Open a directory; it is made when the mode allows. The caller owns the descriptor. */
int cgroup_dirs_open(struct cgroup_dirs *d, int root, const char *path, struct fault *f);

/* Write the properties that are left: those that stop tasks (late), or the others. */
int cgroup_dirs_write(struct cgroup_dirs *d, const CgControllerEntry *c, bool late,
		      struct fault *f);

/* Remove what we made, as far as it is empty. */
void cgroup_dirs_remove(struct cgroup_dirs *d);

#endif
