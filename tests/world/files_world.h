/* SPDX-License-Identifier: MIT */
/*
 * files_world.h - for tests of the files worker without coordinator and bus: two tasks of our own,
 * its handlers.
 *
 * A tree is a parent and its child which a subject has given descriptors. They are dumped, killed,
 * made again as bare tasks with an agent and the same pids, restored and dumped once more.
 */
#ifndef STASIS_FILES_WORLD_H
#define STASIS_FILES_WORLD_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

#define TASKS 2

struct gate;

/*
 * Run in a task, in the tree's directory, before it is dumped: subjects.h has some. NULL: nothing.
 */
typedef void subject(void);

struct tree {
	pid_t pid[TASKS];
	char images[2][64];		/* of the first and the second dump */
	char dir[64];			/* where the tasks work */
	Options opts;
	int plane[2];
	int memory;
	bool weak;			/* the second pair of tasks has no capabilities */
	struct gate *gate[TASKS];
	struct fault f;
};

/* Directories and options; the end removes all of it, the tasks too, and tells t->f. */
void tree_begin(struct tree *t);
void tree_end(struct tree *t);

/* The tasks: started, killed, and bare ones with an agent in their place. */
void tree_start(struct tree *t, subject *parent, subject *child);
void tree_kill(struct tree *t);
void tree_agents(struct tree *t);

/* One request to the worker; -1 with t->f set. rep may be NULL. */
int tree_ask(struct tree *t, Request *req, Reply *rep);
/* Which of t->images[n] the worker reads and writes. */
void tree_images(struct tree *t, int n);
/*
 * Whole conversations: 0, or -1 with t->f set. A restore is tree_prepare, tree_gates and the rest.
 */
int tree_dump(struct tree *t, int n);
int tree_prepare(struct tree *t);
int tree_gates(struct tree *t);
int tree_restore(struct tree *t);
/* Let the worker forget a restore that is given up. */
void tree_end_worker(struct tree *t);

/* The two dumps describe the same files, but for numbers of what was made anew. */
void tree_compare(struct tree *t);

/*
 * All of it for one subject; weak: the second pair of tasks has no capabilities. Skipped but for
 * root.
 */
void tree_round_trip(subject *parent, subject *child);
void tree_round_trip_as(subject *parent, subject *child, bool weak);

#endif
