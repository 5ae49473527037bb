/* SPDX-License-Identifier: MIT */
/*
 * stub.h - the self-restoring stub: code in an unused place of a task's code (room.h) that brings
 * threads home by itself, whatever happens to the tracer.
 */
#ifndef STASIS_STUB_H
#define STASIS_STUB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "coordinator/room.h"
#include "proto/control/fault.h"

/* Where a thread goes home to. */
struct stub_home {
	const struct user_regs_struct *regs;	/* as at the stop; restart codes are applied here */
	uint64_t sigmask;
};

/* Addresses in the task of the leader's stub and the guests' common code. */
struct stub_layout {
	uint64_t map;	/* `syscall` (mmap); then, if it mapped the region: unmap; mask; home */
	uint64_t protect;	/* `syscall` (mprotect); then unmap; mask; home */
	uint64_t leave;		/* wake the death word's waiters; then unmap */
	uint64_t unmap;		/* munmap of the region; mask; home */
	uint64_t guest;		/* see stub_guest_enter */
	uint64_t free;		/* first address after it all: room for guests' slots */
};

struct stub_region {
	uint64_t base, size;
	uint64_t death;		/* address of the death word in the task */
	uint32_t death_value;	/* while the coordinator lives and somebody waits on it */
};

/* Write the stub. Does not fit: -1 with f set. */
int stub_write(pid_t pid, int mem, const struct stub_room *room, const struct stub_region *region,
	       const struct stub_home *leader, struct stub_layout *lay, struct fault *f);

/*
 * The guests' code: writes what only the thread can tell to its record (and keeps its securebits in
 * r8), wakes the waiter on record->pdeath_sig, sleeps until the death word changes, then
 * goes home.
 */
struct stub_record {
	uint64_t clear_tid_addr;
	uint64_t sas_sp, sas_flags, sas_size;	/* stack_t */
	uint32_t pdeath_sig;			/* written last */
	uint32_t pad[7];
};

#define STUB_UNANSWERED 0xffffffffu		/* pdeath_sig before the guest wrote it */
#define STUB_SLACK_UNUSUAL 0x40000000		/* in r8 beside the securebits */

/* Needs death and death_value of the region: known only after the agent runs. */
int stub_write_guest(pid_t pid, int mem, const struct stub_room *room,
		     const struct stub_region *region, struct stub_layout *lay, struct fault *f);

/*
 * Append one guest's slot at address `at` to buf (room bytes). Returns the slot's size, 0 when it
 * does not fit. *entry: what stub_guest_enter wants.
 */
size_t stub_guest_slot(uint8_t *buf, size_t room, uint64_t at, const struct stub_home *h,
		       uint64_t *entry);

/* Change regs (those of the stop) so that the thread runs the guests' code. */
void stub_guest_enter(struct user_regs_struct *regs, const struct stub_layout *lay, uint64_t slot,
		      uint64_t record);

/* Zero the room again: no thread may be in it. */
void stub_erase(int mem, const struct stub_room *room);

#endif
