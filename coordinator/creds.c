/* SPDX-License-Identifier: MIT */
/*
 * creds.c - what a thread may do, from /proc into its image record.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "coordinator/creds.h"

#include <string.h>

#include "proto/control/util.h"

/* A capability set as the images hold it: two words, the low one first. */
static uint32_t *words(uint64_t set, size_t *n)
{
	uint32_t *w = xcalloc(2, sizeof(*w));

	w[0] = set;
	w[1] = set >> 32;
	*n = 2;
	return w;
}

CredsEntry *creds_dump(const struct proc_status *s)
{
	CredsEntry *c = xcalloc(1, sizeof(*c));

	creds_entry__init(c);
	c->uid = s->uid[0];
	c->euid = s->uid[1];
	c->suid = s->uid[2];
	c->fsuid = s->uid[3];
	c->gid = s->gid[0];
	c->egid = s->gid[1];
	c->sgid = s->gid[2];
	c->fsgid = s->gid[3];
	c->cap_inh = words(s->cap_inh, &c->n_cap_inh);
	c->cap_prm = words(s->cap_prm, &c->n_cap_prm);
	c->cap_eff = words(s->cap_eff, &c->n_cap_eff);
	c->cap_bnd = words(s->cap_bnd, &c->n_cap_bnd);
	c->cap_amb = words(s->cap_amb, &c->n_cap_amb);
	if (s->no_new_privs) {
		c->has_no_new_privs = true;
		c->no_new_privs = s->no_new_privs;
	}
	if (s->ngroups) {
		c->groups = xcalloc(s->ngroups, sizeof(*c->groups));
		memcpy(c->groups, s->groups, s->ngroups * sizeof(*c->groups));
		c->n_groups = s->ngroups;
	}
	return c;
}
