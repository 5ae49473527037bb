/* SPDX-License-Identifier: MIT */
/*
 * finding.c - what a survey says of one object.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "workers/common/finding.h"

#include "proto/control/util.h"

Finding *finding_new(pid_t pid, const char *object, const char *deed, const struct fault *why)
{
	Finding *e = xcalloc(1, sizeof(*e));

	finding__init(e);
	e->pid = pid;
	e->object = xstrdup(object);
	e->deed = xstrdup(deed);
	if (why->code)
		e->obstacle = xstrdup(why->text);
	return e;
}
