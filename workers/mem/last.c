/* SPDX-License-Identifier: MIT */
/*
 * last.c - restore: what comes when no mapping of any task changes any more: seals (mseal), and
 * settings of a whole address space. They would be in the way before, and a child that takes over
 * memory would have those of its parent.
 *
 * Rights:   the task's gate.
 * Holds:    nothing.
 */
#include "workers/mem/last.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "workers/mem/vma.h"

/* Absent from Debian 12's headers. */
#define MSEAL 462			/* SYS_mseal */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

#define KNOWN_LOCKS (MCL_FUTURE | MCL_ONFAULT)
#define KNOWN_MDWE 3u

int last_check(const struct target *t, struct fault *f)
{
	const MmEntry *m = t->mm;

	if (m->mlockall & ~(uint32_t)KNOWN_LOCKS)
		return fault(f, -EBADMSG, "mm-%d.img: mlockall has unknown bits", t->pid);
	if (m->mdwe & ~KNOWN_MDWE)
		return fault(f, -EBADMSG, "mm-%d.img: mdwe has unknown bits", t->pid);
	return 0;
}

static void plan_seals(struct plan *p, const struct target *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		const VmaEntry *e = t->vma[i];

		if (e->sealed)
			plan_add(p, WANT_SUCCESS, "seal (mseal, Linux 6.10)", e->start, MSEAL,
				 (uint64_t[6]){ e->start, e->end - e->start });
	}
}

static void plan_prctl(struct plan *p, const char *what, uint64_t option, uint64_t value,
		       uint64_t flags)
{
	plan_add(p, WANT_SUCCESS, what, value, SYS_prctl, (uint64_t[6]){ option, value, flags });
}

void last_plan(struct plan *p, const struct target *t)
{
	const MmEntry *m = t->mm;

	plan_seals(p, t);
	if (m->thp_disabled)
		plan_prctl(p, "prctl(PR_SET_THP_DISABLE)", PR_SET_THP_DISABLE, 1, m->thp_flags);
	if (m->merge_any)
		plan_prctl(p, "prctl(PR_SET_MEMORY_MERGE)", PR_SET_MEMORY_MERGE, 1, 0);
	if (m->mlockall)
		plan_add(p, WANT_SUCCESS, "mlockall", m->mlockall, SYS_mlockall,
			 (uint64_t[6]){ m->mlockall });
	if (m->mdwe)
		plan_prctl(p, "prctl(PR_SET_MDWE)", PR_SET_MDWE, m->mdwe, 0);
}
