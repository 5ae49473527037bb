/* SPDX-License-Identifier: MIT */
/*
 * inherited.h - what every new task has from us: what is like this already need not be set.
 */
#ifndef STASIS_INHERITED_H
#define STASIS_INHERITED_H

#include <sys/resource.h>

#include "coordinator/task_image.h"
#include "workers/common/procfs.h"

struct inherited {
	struct proc_status status;		/* credentials */
	struct rlimit64 limits[LIMITS];
	uint64_t ignored;			/* signals */
	uint32_t securebits;
	int nice, policy, priority;
	uint64_t timer_slack_ns;
	long long oom_score_adj, coredump_filter;
	uint32_t loginuid;
	bool has_loginuid;
	int last_cap;
};

/* Look at this process. NULL with f set; inherited_free takes NULL. */
struct inherited *inherited_read(struct fault *f);
void inherited_free(struct inherited *i);

#endif
