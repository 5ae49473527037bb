/* SPDX-License-Identifier: MIT */
/*
 * locks.h - file locks and leases (--file-locks).
 */
#ifndef STASIS_FILES_LOCKS_H
#define STASIS_FILES_LOCKS_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/* Does the text of an fdinfo show any? */
bool locks_shown(const char *fdinfo);
/* Remember the locks that the text of /proc/PID/fdinfo/N shows for a descriptor. */
int locks_note(struct files *fs, const struct facts *x, const DumpTask *task, const char *fdinfo,
	       struct fault *f);

/* Write filelocks.img. */
int locks_write(struct files *fs, struct fault *f);

/* Restore: read and check it. */
int locks_prepare(struct files *fs, struct fault *f);

/*
 * Set the locks. No descriptor of the tasks may be closed from here on: that would drop POSIX
 * locks of the same file.
 */
int locks_restore(struct files *fs, struct fault *f);

void locks_end(struct files *fs);

#endif
