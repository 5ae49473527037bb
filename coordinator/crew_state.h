/* SPDX-License-Identifier: MIT */
/*
 * crew_state.h - what crew.c and crew_ask.c share.
 */
#ifndef STASIS_CREW_STATE_H
#define STASIS_CREW_STATE_H

#include "coordinator/crew.h"
#include "workers/common/worker.h"

struct pending {
	uint64_t id;
	int body;		/* Request.body_case */
};

struct member {
	struct worker *worker;
	bool running;
	bool started;		/* its process exists */
	bool foreign;		/* not our child */
	bool unlinked;		/* its socket's path is gone */
	bool retired, buried;
	pid_t pid;
	int pidfd;
	int fd_plane;
	struct bus *bus;
	struct pending pending[CREW_PENDING];
	unsigned first, count;
	uint64_t last_reply;
};

struct crew {
	char dir[32];		/* of the sockets; empty once removed */
	uint64_t last_id;
	struct trace *trace;	/* the job's */
	bool patient;		/* no deadlines */
	struct member member[ROLE_COUNT];
};

/*
 * A worker is connected and nobody needs its path: a killed coordinator shall leave nothing behind.
 */
void crew_hide(struct crew *c, struct member *m);

#endif
