/* SPDX-License-Identifier: MIT */
/*
 * cgroup_props.h - which control files of a cgroup are dumped.
 */
#ifndef STASIS_CGROUP_PROPS_H
#define STASIS_CGROUP_PROPS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/control/fault.h"

struct cgroup_props;

/* The built-in table. */
struct cgroup_props *cgroup_props_new(void);
void cgroup_props_free(struct cgroup_props *p);

/*
 * Change the table by a description in the form of --cgroup-props:
 *
 *	"CONTROLLER":
 *	 - "strategy": "merge" or "replace"
 *	 - "properties": [ "FILE", "FILE" ]
 *
 * any number of times; blanks and line ends count nowhere. text need not end with NUL. The table
 * is changed up to the place of a fault.
 */
int cgroup_props_parse(struct cgroup_props *p, const char *text, size_t len, struct fault *f);

/* As cgroup_props_parse, from a file below dir. */
int cgroup_props_parse_file(struct cgroup_props *p, int dir, const char *path, struct fault *f);

/* The files of a controller, ended by NULL; NULL when the controller is not in the table. */
const char *const *cgroup_props_of(const struct cgroup_props *p, const char *controller);

/* The files every cgroup has, ended by NULL. */
const char *const *cgroup_props_common(bool version2);

/* Is it to be written as soon as its directory is there, before tasks or children are? */
bool cgroup_prop_is_early(const char *name);

/* Does it stop tasks, so that it must wait until they run? */
bool cgroup_prop_is_late(const char *name);

/* May it be the name of a control file? */
bool cgroup_prop_good_name(const char *name);

#endif
