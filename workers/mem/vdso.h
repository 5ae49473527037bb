/* SPDX-License-Identifier: MIT */
/*
 * vdso.h - restore: the areas every kernel provides itself, [vdso] and [vvar*].
 */
#ifndef STASIS_MEM_VDSO_H
#define STASIS_MEM_VDSO_H

#include <stdbool.h>

#include "workers/mem/plan.h"
#include "workers/mem/target.h"

#define AREAS_MAX 8

struct area {
	uint64_t start, end;
	uint64_t to;			/* where it shall be; 0: nowhere */
	bool vdso;			/* else a vvar */
};

struct areas {
	struct area area[AREAS_MAX];	/* in address order */
	size_t n;
};

/* Where they are in a task now. */
int vdso_find(pid_t pid, struct areas *out, struct fault *f);

/*
 * Does this kernel's vDSO fit the one in the images? Sets t->redirect when its functions or
 * areas lie elsewhere; a fault when not even redirection is possible.
 */
int vdso_check(struct target *t, struct fault *f);

/*
 * Decide where each area goes: where the images have it, or (redirected) into a hole. busy: what
 * else is or will be mapped. Then plan the moves.
 */
int vdso_plan_move(struct plan *p, const struct target *t, struct areas *areas,
		   const struct range_list *busy, struct fault *f);

/* Redirected: the images' vDSO with jumps to this kernel's, which is at `to`. The caller frees. */
char *vdso_with_jumps(const struct target *t, uint64_t to);

#endif
