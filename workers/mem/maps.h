/* SPDX-License-Identifier: MIT */
/*
 * maps.h - the text of /proc/PID/smaps as an array.
 */
#ifndef STASIS_MEM_MAPS_H
#define STASIS_MEM_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"

/* VmFlags that matter here. */
enum map_flag {
	MAPF_GROWSDOWN = 1u << 0,
	MAPF_LOCKED = 1u << 1,
	MAPF_NORESERVE = 1u << 2,
	MAPF_HUGETLB = 1u << 3,
	MAPF_DROPPABLE = 1u << 4,
	MAPF_SEQUENTIAL = 1u << 5,
	MAPF_RANDOM = 1u << 6,
	MAPF_DONTFORK = 1u << 7,
	MAPF_DONTDUMP = 1u << 8,
	MAPF_MERGEABLE = 1u << 9,
	MAPF_HUGEPAGE = 1u << 10,
	MAPF_NOHUGEPAGE = 1u << 11,
	MAPF_WIPEONFORK = 1u << 12,
	MAPF_IO = 1u << 13,		/* VM_IO or VM_PFNMAP */
	MAPF_SHADOW_STACK = 1u << 14,
	MAPF_UFFD = 1u << 15,		/* registered with a userfaultfd */
	MAPF_SEALED = 1u << 16,
	MAPF_SYNC = 1u << 17,
	MAPF_MAYWRITE = 1u << 18,	/* may be made writable */
};

struct map {
	uint64_t start, end, pgoff;
	uint32_t prot;			/* PROT_* */
	uint32_t flags;			/* enum map_flag */
	uint32_t pkey;
	uint64_t resident;		/* bytes */
	bool shared;
	bool alone;			/* no page of it is mapped elsewhere too */
	dev_t dev;
	uint64_t ino;
	const char *name;		/* "" when there is none */
};

struct maps {
	struct map *map;
	size_t n, cap;
	char *text;			/* the names lie here */
};

/* Read the mappings of a stopped task, in address order. maps_free releases them. */
int maps_read(pid_t pid, struct maps *maps, struct fault *f);
void maps_free(struct maps *maps);

/* The same of a running task and in less time, without vm flags, keys and `alone`. */
int maps_read_names(pid_t pid, struct maps *maps, struct fault *f);

/* The same from a text, which is taken over and cut into pieces. For maps_read and the test. */
int maps_parse(char *text, struct maps *maps, struct fault *f);

#endif
