/* SPDX-License-Identifier: MIT */
/*
 * registers.h - a stopped thread's registers to and from its image record.
 */
#ifndef STASIS_REGISTERS_H
#define STASIS_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "proto/control/fault.h"
#include "proto/images/x86.pb-c.h"

/* The kernel's private restart codes (never seen by a program), positive. */
enum restart {
	RESTART_SYS = 512,	/* again, unless a handler without SA_RESTART ran */
	RESTART_NOINTR = 513,	/* always again */
	RESTART_NOHAND = 514,	/* again, unless a handler ran */
	RESTART_BLOCK = 516,	/* go on with what the kernel remembers of it (a time) */
};

/* Ask the processor for its layout now (a quarter of a millisecond in a virtual machine). */
void registers_prepare(void);

/*
 * Dump: fill gpregs, fpregs and interrupted (allocated here, freed with the message) from a
 * stopped thread. regs are those read at the freeze. An interrupted system call is stored
 * as one about to be made; how the kernel would go on, and the rest of a sleep, beside it.
 */
int registers_save(pid_t tid, const struct user_regs_struct *regs, ThreadInfoX86 *info,
		   struct fault *f);

/* Check what registers_load relies on, before any task exists. who names the image file. */
int registers_check(const ThreadInfoX86 *info, const char *who, struct fault *f);

/* The thread has AMX state, so its task needs the permission and it must touch a tile first. */
bool registers_need_amx(const ThreadInfoX86 *info);

/* Restore: load registers and extended state into a thread in a PTRACE_INTERRUPT stop. */
int registers_load(pid_t tid, const ThreadInfoX86 *info, struct fault *f);

#endif
