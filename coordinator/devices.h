/* SPDX-License-Identifier: MIT */
/*
 * devices.h - the conversation with the gpu worker, which takes part when there are devices or
 * plugins.
 *
 * Every function but those that say so does nothing when it does not take part.
 */
#ifndef STASIS_DEVICES_H
#define STASIS_DEVICES_H

#include "coordinator/job.h"

/* ---- dump ---- */

/*
 * Tasks run: what becomes of these objects? Starts the worker when there is one, or a plugin. *rep:
 * a Surveyed, the caller's; NULL when there was nothing to ask.
 */
int devices_judge(struct job *job, DeviceFile **file, size_t nfiles, DeviceMap **map, size_t nmaps,
		  Reply **rep, struct fault *f);

/* Tasks run: their devices come to rest. Those that rest already are left out. */
int devices_pause(struct job *job, const pid_t *pids, size_t n, struct fault *f);
/* The tree stands: is there a task whose devices were not paused? */
bool devices_any_new(const struct job *job);
int devices_checkpoint(struct job *job, struct fault *f);

/* All is known: show it to the drivers, let them begin to write. */
int devices_dump(struct job *job, const FilesCollected *files, const MemCollected *memory,
		 struct fault *f);
/*
 * Every other worker has written: wait, and learn what plugins the restore will need
 * (job->plugins).
 */
int devices_late(struct job *job, struct fault *f);

/* The end of a dump (result 0: a good one) or of a restore that failed; plugins exit. Once. */
void devices_end(struct job *job, int result);

/*
 * A unix socket, whose peer is outside the tree: descriptor fd of ours. *taken: a plugin knows the
 * peer.
 */
int devices_dump_unix(struct job *job, uint32_t ino, int fd, bool *taken, struct fault *f);

/* ---- restore ---- */

/*
 * What the images have; starts the worker when there is a device, a plugin, or one that is
 * required. Both messages stay the caller's, who keeps memory.
 */
int devices_prepare(struct job *job, const FilesPrepared *files, const MemPrepared *memory,
		    struct fault *f);

/* All tasks exist and the workers were told of their gates: contents begin to come. */
int devices_forked(struct job *job, struct fault *f);

/* While mem builds: begin to make files. */
int devices_create(struct job *job, struct fault *f);

/* Memory is built: the rest of the files; files takes them; memory of devices is mapped. */
int devices_pass(struct job *job, struct fault *f);

/* Every task is stopped, agents are out: devices go on. A failure is one of the restore. */
int devices_resume(struct job *job, struct fault *f);

/* A unix socket that a plugin makes; *fd is the caller's. */
int devices_restore_unix(struct job *job, uint32_t ino, int *fd, struct fault *f);

void devices_free(struct job *job);

#endif
