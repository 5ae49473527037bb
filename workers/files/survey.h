/* SPDX-License-Identifier: MIT */
/*
 * survey.h - look at the files of running tasks as a dump would, for "stasis check PID".
 */
#ifndef STASIS_FILES_SURVEY_H
#define STASIS_FILES_SURVEY_H

#include "proto/control/control.pb-c.h"
#include "workers/files/type.h"

/*
 * A finding for every descriptor and directory of a live task; nothing when it has ended meanwhile.
 */
void survey_task(struct files *fs, const DumpTask *task, FilesSurveyed *out);

#endif
