/* SPDX-License-Identifier: MIT */
/*
 * gate.h - the call gate: how the agent inside a task is asked to make system calls.
 *
 * The only header that pie/ shares with the rest. All fields have fixed width.
 *
 * A task has one region of shared memory, mapped in a hole of its address space:
 *
 *	offset 0		the agent's blob, GATE_BLOB_SIZE bytes
 *	GATE_BLOB_SIZE		one struct gate_mailbox (a page, with its thread's stack) per thread
 *	after the mailboxes	the arena: operations, arguments, results
 *
 * A worker writes a batch of operations anywhere in the arena, names it in the mailbox,
 * adds one to `request` and wakes it (futex); the agent runs the batch, copies `request`
 * into `done` and wakes that.
 */
#ifndef STASIS_GATE_H
#define STASIS_GATE_H

#include <stdint.h>

#define GATE_VERSION 1u
#define GATE_PAGE 4096ul
#define GATE_BLOB_SIZE (4 * GATE_PAGE)	/* the largest blob; asserted by the linker script */

/* What an argument is. Four bits each in gate_op.kinds, argument 0 lowest. */
enum gate_kind {
	GATE_CONST = 0,		/* the value itself */
	GATE_ARENA = 1,		/* offset in the arena: the agent passes the address */
	GATE_RESULT = 2,	/* result of operation number `value` of this batch */
	GATE_LOAD32 = 3, /* the int32 at that arena offset, sign extended, read when the op runs */
	GATE_LOAD64 = 4,	/* the 64-bit word at that arena offset */
};

enum gate_op_flags {
	GATE_STOP_ON_ERROR = 1u << 0,	/* a result in [-4095, -1] ends the batch */
};

/*
 * Operation numbers: a system call number, or one of these.
 * GATE_OP_CLONE: arg0 = arena/address of struct clone_args, arg1 = its size, arg2 = address
 *	(in the child's view) of the mailbox on which the child runs its own agent loop. Used
 *	for threads (CLONE_VM, ...) and children; the result is the child's id. The child never
 *	touches its parent's stack. arg3: address of the agent's entry in the child's view.
 * GATE_OP_AMX_TOUCH: make this thread's xstate hold tile data (arg0 = address of a 64-byte
 *	tile configuration): a PTRACE_SETREGSET with AMX state needs it.
 * GATE_OP_COPY: memcpy(arg0, arg1, arg2 bytes), result 0.
 * GATE_OP_LEAVE: dump: go back to the interrupted program through the stub (see inject.c).
 * GATE_OP_STORE32, GATE_OP_STORE64: write arg1 to the task's memory at arg0, result 0.
 */
enum gate_special {
	GATE_OP_CLONE = 0x80000001u,
	GATE_OP_AMX_TOUCH = 0x80000002u,
	GATE_OP_COPY = 0x80000003u,
	GATE_OP_LEAVE = 0x80000004u,
	GATE_OP_STORE32 = 0x80000005u,
	GATE_OP_STORE64 = 0x80000006u,
};

struct gate_op {
	uint32_t nr;
	uint32_t flags;
	uint32_t kinds;
	uint32_t pad;
	uint64_t arg[6];
	int64_t ret;		/* as the kernel returns it: negative errno on failure */
};

enum gate_state {
	GATE_ABSENT = 0,	/* the thread has not reached its agent loop yet */
	GATE_READY = 1,
	GATE_LEFT = 2,		/* on its way out through the stub */
};

enum gate_mode {
	GATE_MODE_DUMP = 0,	/* peer's death: leave through the stub */
	GATE_MODE_RESTORE = 1,	/* peer's death: exit_group(1) */
};

/* FUTEX_OWNER_DIED; the kernel sets it in `death` when the peer holding it dies. */
#define GATE_DEATH_BIT 0x40000000u
#define GATE_WAITERS_BIT 0x80000000u

/*
 * One thread's mailbox. `request`, `done`, `death` and `state` are futex words; each has
 * a cache line of its own. The rest of the page is the agent's stack for this thread.
 */
struct gate_mailbox {
	uint32_t request;
	uint32_t pad0[15];
	uint32_t done;
	uint32_t executed;	/* how many operations of the last batch ran */
	uint32_t pad1[14];
	uint32_t death;		/* robust futex: the coordinator's tid, while it lives */
	uint32_t pad2[15];
	uint32_t state;
	uint32_t mode;		/* enum gate_mode */
	uint32_t version;	/* GATE_VERSION, checked by the agent at entry */
	uint32_t lock;	/* workers' mutual exclusion (tid of the holder), see gate_client.c */
	uint32_t nops;
	uint32_t spin;		/* polls of `request` before sleeping */
	uint64_t ops;		/* address in the task of the batch's struct gate_op array */
	uint64_t arena;		/* address in the task of the arena */
	/* Dump only: how GATE_OP_LEAVE or the peer's death ends. */
	uint64_t stub;		/* entry of the stub's "munmap, sigmask, registers, jump" part */
	uint64_t region;	/* what that part unmaps */
	uint64_t region_size;
	uint64_t rbx, rbp, rsp, r12, r13, r14, r15, rflags; /* registers the stub does not reload */
	uint64_t pad3[16];
	uint8_t stack[0];
};

#endif
