/* SPDX-License-Identifier: MIT */
/*
 * sockets.h - the conversation with the net worker, which takes part when there are sockets.
 */
#ifndef STASIS_SOCKETS_H
#define STASIS_SOCKETS_H

#include "coordinator/job.h"

/* ---- dump ---- */

/* Before the freeze: net judges the sockets that files saw. Adds its obstacles to done's. */
int sockets_preflight(struct job *job, FilesPreflightDone *done, struct fault *f);

/*
 * Net looks at the sockets found, files at what waits in their queues; all entries are written.
 * found->owed is answered (cloexec.h): only sockets are owed.
 */
int sockets_dump(struct job *job, FilesCollected *found, const MemCollected *memory,
		 struct fault *f);

/*
 * The images are complete, the tasks are to be killed. Should we die when they are dead, their
 * connections are left to the restore.
 */
int sockets_doom(struct job *job, struct fault *f);

/* Do connections exist that must not be let go before the tasks are dead? */
bool sockets_kept(const struct job *job);
/*
 * The dump is good. killed: the tasks are dead or (if sockets_kept tells none) dying, else they are
 * about to run on. sockets_sealed waits for the end.
 */
int sockets_seal(struct job *job, bool killed, struct fault *f);
int sockets_sealed(struct job *job, struct fault *f);

/* The dump failed; the tasks are about to run on. */
void sockets_rollback(struct job *job);

/* ---- restore; nothing happens when there are no sockets, but in sockets_prepare ---- */

/* Start net and ask it to check its images; sockets_prepared takes its answer. */
int sockets_prepare(struct job *job, struct fault *f);
int sockets_prepared(struct job *job, struct fault *f);

/* Ids of the files that wait in sockets; borrowed. */
size_t sockets_flying(const struct job *job, uint32_t **ids);

/* All tasks exist: net begins to create. */
int sockets_create(struct job *job, struct fault *f);

/*
 * Files has created what it could: sockets go to files, what is to be queued goes to net, which
 * begins.
 */
int sockets_pass(struct job *job, struct fault *f);

/* Wait until the queues are filled. */
int sockets_fill(struct job *job, struct fault *f);

/* The tasks are about to run: connections resume, the network is unlocked. */
int sockets_release(struct job *job, struct fault *f);

#endif
