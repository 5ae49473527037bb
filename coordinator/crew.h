/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the coordinator's side of the control plane: start workers, ask, collect.
 */
#ifndef STASIS_CREW_H
#define STASIS_CREW_H

#include <stddef.h>

#include "coordinator/job.h"

enum role { ROLE_MEM, ROLE_FILES, ROLE_NET, ROLE_GPU, ROLE_COUNT };

/* So many requests to one worker may wait for their answers. */
#define CREW_PENDING 64

/* The role of this name, -1: there is none. */
int crew_role(const char *name, size_t len);

/* "mem_collect" for a Request.body_case, "?" for none. */
const char *crew_body_name(int body);

/* "OK", "RETRY", "FAILED", "?" for another. */
const char *crew_status_name(const Reply *rep);

/* Start the named roles (bit set of 1 << role), in parallel, and send them Setup. Once. */
int crew_start(struct job *job, unsigned roles, struct fault *f);

/*
 * One more role turned out to be needed: start it and send it Setup. Nothing when it runs already.
 */
int crew_need(struct job *job, enum role role, struct fault *f);

/* "stasis --become NAME FD": how a role is started late. */
#define CREW_BECOME "--become"
_Noreturn void crew_become(const char *name, int fd_plane);

/*
 * Ask one worker. Set req->body_case and its message; id, stage and deadline are filled in
 * here. The message is the caller's. fds (may be NULL) travel on the fd plane.
 */
int crew_send(struct crew *c, enum role role, Stage stage, Request *req, const int *fds,
	      size_t nfds, struct fault *f);

/*
 * Take the reply to the oldest request of that worker that has not been answered. *rep may be NULL
 * when only success matters; otherwise the caller frees it with reply__free_unpacked.
 * A FAILED reply, a dead, silent or nonsensical worker is a fault that names it.
 */
int crew_wait(struct crew *c, enum role role, Reply **rep, struct fault *f);

/* The same for a reply that must have this body (Reply.body_case). NULL with f set. */
Reply *crew_answer(struct crew *c, enum role role, int body, struct fault *f);

/*
 * The same, one reply at a time, that to Setup too, whatever its status is; the caller frees it.
 * -1: there was none, or none that can be taken for one.
 */
int crew_take(struct crew *c, enum role role, Reply **rep, struct fault *f);

/* Descriptors that came with the last reply of that worker. */
int crew_recv_fds(struct crew *c, enum role role, int *fds, size_t n, struct fault *f);

/* Close what descriptors came and were not received: how many. */
size_t crew_drop_fds(struct crew *c, enum role role);

/* Wait until no worker works on a request, after a fault; one that does not answer is killed. */
void crew_quiesce(struct crew *c);

/* Does this worker run? */
bool crew_has(const struct crew *c, enum role role);

/* Send and wait. */
int crew_ask(struct crew *c, enum role role, Stage stage, Request *req, Reply **rep,
	     struct fault *f);
/* The same for a reply that must have this body, as crew_answer. */
Reply *crew_ask_for(struct crew *c, enum role role, Stage stage, Request *req, int body,
		    struct fault *f);

/*
 * All that was asked of this worker has been answered and nothing more will be: it ends while we go
 * on. crew_stop waits for its end.
 */
void crew_retire(struct crew *c, enum role role);

/* A worker that is retired: wait until it is dead and its descriptors are closed. */
void crew_bury(struct crew *c, enum role role);

/*
 * End the workers: everything asked of them must have been answered (or no longer matter). NULL is
 * fine.
 */
void crew_stop(struct crew *c);

/* Give the workers our own priority: while tasks are frozen they work at raised priority. */
void crew_hurry(struct crew *c);

/* SIGKILL to a worker (rollback after a fault in the control plane, crash tests). */
void crew_kill(struct crew *c, enum role role);

#endif
