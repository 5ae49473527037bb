/* SPDX-License-Identifier: MIT */
/*
 * creds.h - what a thread may do, from /proc into its image record.
 */
#ifndef STASIS_CREDS_H
#define STASIS_CREDS_H

#include "proto/images/task.pb-c.h"
#include "workers/common/procfs.h"

/* A new entry (freed with the message that holds it). secbits is not in /proc and stays 0. */
CredsEntry *creds_dump(const struct proc_status *s);

#endif
