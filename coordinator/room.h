/* SPDX-License-Identifier: MIT */
/*
 * room.h - where in a task the self-restoring stub (stub.h) can lie.
 */
#ifndef STASIS_ROOM_H
#define STASIS_ROOM_H

#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"

#define STUB_ROOM_MAX 16384
#define STUB_MAGIC 0x6275747373697473ull	/* "stisstub" */

/* A stub begins with this. */
struct stub_mark {
	uint64_t magic, region, size;
};

/* Unused bytes in executable memory: [start, end). Zeros, or what a killed stasis left there. */
struct stub_room {
	uint64_t start, end;
	uint64_t old_region;	/* region of an agent whose coordinator was killed; 0: none */
	uint64_t old_size;
};

/*
 * Find it. mem is /proc/PID/mem; [vdso, vdso_end) the vDSO, 0 when the task has none. -1 with f set
 * when there is too little room.
 */
int room_find(pid_t pid, int mem, uint64_t vdso, uint64_t vdso_end, struct stub_room *room,
	      struct fault *f);

#endif
