/* SPDX-License-Identifier: MIT */
/*
 * labels.h - the labels of AppArmor or SELinux.
 */
#ifndef STASIS_LABELS_H
#define STASIS_LABELS_H

#include "coordinator/job.h"
#include "coordinator/ops.h"
#include "proto/images/inventory.pb-c.h"

/* The module that is on here. */
Lsmtype labels_module(void);

/* Dump: note what the thread has, nothing where no module is on. */
int labels_dump(Lsmtype module, pid_t pid, pid_t tid, CredsEntry *c, struct fault *f);

/* Wrong use of --lsm-profile (TYPE:NAME) for this machine: a fault. */
int labels_check_option(const Options *opts, struct fault *f);

/*
 * Restore: after the images are read, make every lsm_profile the text that is to be written, or
 * NULL. Then, SELinux before there are threads, AppArmor as the last of a thread's credentials:
 * have it written.
 */
int labels_prepare(struct job *job, struct fault *f);
int labels_restore_process(struct ops *o, const CredsEntry *c, struct fault *f);
int labels_restore_thread(struct ops *o, const CredsEntry *c, uint32_t k, struct fault *f);

/* The parts without a kernel, for the unit test. NULL: unconfined; or wrong, with f set. */
char *labels_parse(Lsmtype module, const char *text, struct fault *f);
char *labels_render(Lsmtype module, const char *label, const char *option, struct fault *f);

#endif
