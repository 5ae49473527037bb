/* SPDX-License-Identifier: MIT */
/*
 * owed.h - fdinfo-ID.img of tables with many sockets: whether exec closes these only the task can
 * tell without a look at /proc, which would cost more than all the rest.
 */
#ifndef STASIS_FILES_OWED_H
#define STASIS_FILES_OWED_H

#include "proto/control/control.pb-c.h"
#include "proto/images/files.pb-c.h"
#include "workers/files/type.h"

struct table;

/*
 * Can one look at /proc/locks show all of it? Else sockets need their fdinfo. The answer is better
 * if it was asked for some time before, while the tasks run; it is not waited for.
 */
void owed_ask(struct files *fs);
bool owed_can(const struct files *fs);
/* A table of a task of FilesCollect, not finished. */
struct table *table_new(const DumpTask *task);
/*
 * The next descriptor. x->owed: it is a socket whose flags of the descriptor and locks are not
 * known yet.
 */
void table_add(struct files *fs, struct table *t, const struct facts *x, FdTypes type);
/*
 * All are there: the image is written, or kept until owed_write. t is taken over, whatever is
 * returned.
 */
int table_close(struct files *fs, struct table *t, struct fault *f);
void table_free(struct table *t);

static inline void auto_table(struct table **t)
{
	table_free(*t);
}

#define AUTO_TABLE __attribute__((cleanup(auto_table)))

/* All tables are closed, some time has passed: note the locks of sockets. */
int owed_locks(struct files *fs, struct fault *f);
/* Which descriptors the coordinator is to ask their tasks for; the caller's. */
size_t owed_named(const struct files *fs, FdNumbers ***list);
/* The answer: those that exec closes. Write the images. */
int owed_write(struct files *fs, FdNumbers *const *cloexec, size_t n, struct fault *f);
void owed_end(struct files *fs);

#endif
