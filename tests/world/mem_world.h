/* SPDX-License-Identifier: MIT */
/*
 * mem_world.h - for tests of the mem worker without coordinator and bus: a subject is dumped, built
 * again in another task and compared.
 *
 * A subject is forked and stopped; then it is killed, and an agent task of the same pid is built
 * from the images and dumped in turn.
 */
#ifndef STASIS_MEM_WORLD_H
#define STASIS_MEM_WORLD_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#include "proto/control/control.pb-c.h"
#include "proto/control/fault.h"

#define PAGE 4096ul
#define TASKS 2

struct gate;

struct task_facts {
	pid_t pid;
	uint64_t brk;
	uint64_t region, region_size;
};

struct world {
	struct task_facts task[TASKS];	/* [1] is the child of [0] */
	size_t n;
	char dir[2][40];		/* images of the first and the second dump */
	int files[64];			/* of the first dump, by id */
	size_t nfiles;
	MemPrepared *prepared;
	int memory;
	struct gate *gate[TASKS];
	struct fault f;
};

/* Run in a task; ends with world_report(fd). */
typedef void world_subject(int fd);

/* Tells its pid and brk through the pipe, then waits for its death. */
noreturn void world_report(int fd);

/* Once, before all others: the worker's options and fd plane. -1 with errno. */
int world_prepare(void);

/*
 * n tasks of that subject, stopped; 0 or -1. They are killed, and the end removes all that is left.
 */
int world_start(struct world *w, world_subject *setup, size_t n);
void world_kill(struct world *w);
void world_end(struct world *w);

/* What MemPreflight says of the first task: "" for nothing. */
const char *world_preflight(struct world *w);

/* Into w->dir[which], and from the first of these: 0, or -1 with w->f set. */
int world_dump(struct world *w, int which);
int world_rebuild(struct world *w);

/* All of it; both dumps must describe the same mappings and hold the same pages. */
void world_round_trip(struct world *w, world_subject *setup, size_t n);

#endif
