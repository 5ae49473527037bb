/* SPDX-License-Identifier: MIT */
/*
 * restart.c - interrupted system calls, both directions.
 *
 * Dump:     a frozen thread inside a call has orig_rax = its number and rax = a restart code.
 *           The image gets the registers of a thread about to make the call, so that any reader
 *           restores one that never sees EINTR; `interrupted` keeps the code.
 * Restore:  with the code back in rax, the kernel itself decides between restart and
 *           EINTR, knowing pending signals and handlers. A sleep (RESTART_BLOCK) has its end
 *           in the kernel's restart block, which nobody can write: the agent makes the call once
 *           more with the remaining time and is interrupted in it, which writes that block.
 * Rights:   reading the memory of a stopped thread.
 * Holds:    nothing.
 *
 * How much time remains the kernel tells only to callers of nanosleep that asked for it (rmtp:
 * glibc's sleep does); sleepers.c finds out for the others. Where neither is possible the call's
 * full time is used again: longer than asked, never EINTR.
 */
#include "coordinator/restart.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "proto/control/util.h"

#define NS 1000000000ull

/* The calls whose restart is a matter of the restart block (Linux 6.18). */
static bool sleeps(uint64_t nr)
{
	return nr == SYS_nanosleep || nr == SYS_clock_nanosleep || nr == SYS_poll ||
	       nr == SYS_futex;
}

/*
 * Calls that fail with EINTR when a stop wakes them, though no handler runs (signal(7)). Nothing
 * has happened in them yet, so they can be made again; a time limit then counts from the beginning.
 */
static bool fails_with_eintr(uint64_t nr)
{
	return nr == SYS_epoll_wait || nr == SYS_epoll_pwait || nr == SYS_epoll_pwait2 ||
	       nr == SYS_rt_sigtimedwait || nr == SYS_semop || nr == SYS_semtimedop ||
	       nr == SYS_io_getevents || nr == SYS_io_pgetevents;
}

bool restart_undo_eintr(struct user_regs_struct *regs)
{
	if ((int64_t)regs->rax != -EINTR || !fails_with_eintr(regs->orig_rax))
		return false;
	regs->rax = -RESTART_NOHAND;
	return true;
}

static bool read_memory(pid_t tid, uint64_t at, void *to, size_t size)
{
	struct iovec l = { to, size }, r = { (void *)at, size };

	return process_vm_readv(tid, &l, 1, &r, 1, 0) == (ssize_t)size;
}

/* What callers of syscall(2) sleep in: a private futex that still has the value waited for. */
static bool looks_like_futex(pid_t tid, const uint64_t arg[4])
{
	uint64_t command = arg[1] & FUTEX_CMD_MASK;
	struct timespec t;
	uint32_t now;

	return arg[1] & FUTEX_PRIVATE_FLAG &&
	       (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) &&
	       read_memory(tid, arg[0], &now, sizeof(now)) && now == (uint32_t)arg[2] &&
	       read_memory(tid, arg[3], &t, sizeof(t)) && t.tv_nsec >= 0 && t.tv_nsec < (long)NS;
}

/*
 * After an earlier stop the kernel goes on by restart_syscall and the call's number is lost, though
 * its arguments are not. The program's own code tells: "mov $nr, %eax" shortly before the
 * syscall instruction at ip - 2. Returns restart_syscall's number when nothing is found.
 */
static uint64_t find_number(pid_t tid, uint64_t ip, const uint64_t arg[4])
{
	uint8_t code[34];
	uint32_t nr;
	int i = -1;

	if (read_memory(tid, ip - sizeof(code), code, sizeof(code)))
		i = sizeof(code) - 2 - 5;
	for (; i >= 0; i--) {
		memcpy(&nr, code + i + 1, sizeof(nr));
		if (code[i] == 0xb8 && sleeps(nr))
			return nr;
	}
	return looks_like_futex(tid, arg) ? SYS_futex : SYS_restart_syscall;
}

/*
 * Stopped again on the way back into its sleep: the thread is about to call restart_syscall.
 * Turn its registers into those of the interruption before.
 */
static void undo_restart(pid_t tid, UserX86RegsEntry *g)
{
	uint8_t code[2];

	if (!read_memory(tid, g->ip, code, sizeof(code)) || code[0] != 0x0f || code[1] != 0x05)
		return;
	g->ip += 2;
	g->ax = -RESTART_BLOCK;
	if (!sleeps(g->orig_ax))
		g->orig_ax = SYS_restart_syscall;
}

/* The kernel wrote the rest to rmtp when the freeze interrupted the sleep. */
static void save_time_left(pid_t tid, const UserX86RegsEntry *g, InterruptedCall *c)
{
	struct timespec t;
	uint64_t rmtp = 0;

	if (g->orig_ax == SYS_nanosleep)
		rmtp = g->si;
	else if (g->orig_ax == SYS_clock_nanosleep)
		rmtp = g->r10;
	if (rmtp && read_memory(tid, rmtp, &t, sizeof(t)) && t.tv_sec >= 0 && t.tv_nsec >= 0 &&
	    t.tv_nsec < (long)NS && t.tv_sec < INT64_MAX / (long)NS - 1) {
		c->has_left_ns = true;
		c->left_ns = t.tv_sec * NS + t.tv_nsec;
	}
}

void restart_save(pid_t tid, ThreadInfoX86 *info)
{
	UserX86RegsEntry *g = info->gpregs;
	InterruptedCall *c;
	int64_t error;

	if (g->ax == SYS_restart_syscall)
		undo_restart(tid, g);
	error = -(int64_t)g->ax;
	if (error == EINTR && fails_with_eintr(g->orig_ax))
		error = RESTART_NOHAND;
	if ((int64_t)g->orig_ax < 0 || error < RESTART_SYS || error > RESTART_BLOCK || error == 515)
		return;
	if (error == RESTART_BLOCK && g->orig_ax == SYS_restart_syscall)
		g->orig_ax = find_number(tid, g->ip, (uint64_t[]){ g->di, g->si, g->dx, g->r10 });
	if (error == RESTART_BLOCK && !sleeps(g->orig_ax)) {
		g->ax = -EINTR;		/* nobody knows which call it was */
		return;
	}
	c = info->interrupted = xcalloc(1, sizeof(*c));
	interrupted_call__init(c);
	c->error = error;
	if (error == RESTART_BLOCK)
		save_time_left(tid, g, c);
	g->ax = g->orig_ax;
	g->ip -= 2;
}

bool restart_interrupted(const struct user_regs_struct *regs)
{
	return (int64_t)regs->orig_rax >= 0 && (int64_t)regs->rax == -RESTART_BLOCK;
}

/* FUTEX_WAIT_BITSET names a moment, which stays right; rmtp tells the rest of a nanosleep. */
bool restart_rest_unknown(pid_t tid, const struct user_regs_struct *regs, uint64_t *nr)
{
	if (!restart_interrupted(regs))
		return false;
	*nr = regs->orig_rax;
	if (*nr == SYS_restart_syscall)
		*nr = find_number(tid, regs->rip,
				  (uint64_t[]){ regs->rdi, regs->rsi, regs->rdx, regs->r10 });
	switch (*nr) {
	case SYS_nanosleep:
		return !regs->rsi;
	case SYS_clock_nanosleep:
		return !regs->r10;
	case SYS_futex:
		return (regs->rsi & FUTEX_CMD_MASK) == FUTEX_WAIT;
	}
	return *nr == SYS_poll;
}

void restart_note_left(ThreadInfoX86 *info, uint64_t left_ns)
{
	InterruptedCall *c = info->interrupted;

	if (left_ns && c && c->error == RESTART_BLOCK && !c->has_left_ns) {
		c->has_left_ns = true;
		c->left_ns = left_ns;
	}
}

int restart_check(const ThreadInfoX86 *info, const char *who, struct fault *f)
{
	const InterruptedCall *c = info->interrupted;

	if (!c)
		return 0;
	if (c->error < RESTART_SYS || c->error > RESTART_BLOCK || c->error == 515 ||
	    info->gpregs->ax != info->gpregs->orig_ax || (int64_t)info->gpregs->orig_ax < 0 ||
	    (c->error == RESTART_BLOCK && !sleeps(info->gpregs->orig_ax)) ||
	    (c->has_left_ns && c->left_ns > INT64_MAX))
		return fault(f, -EINVAL, "%s: interrupted: code %u does not fit system call %ld",
			     who, c->error, (long)info->gpregs->orig_ax);
	return 0;
}

/*
 * Images of CRIU have EINTR where a sleep was interrupted. A thread stopped before it has left
 * the call can have that value for no other reason: the call is made again, with its full time.
 */
void restart_load(struct user_regs_struct *regs, const ThreadInfoX86 *info)
{
	const InterruptedCall *c = info->interrupted;

	if (c) {
		regs->rip += 2;
		regs->rax = -(int64_t)c->error;
		if (c->error == RESTART_BLOCK && !c->has_left_ns)
			regs->rax = -RESTART_NOHAND;
	} else if ((int64_t)regs->rax == -EINTR && sleeps(regs->orig_rax)) {
		regs->rax = -RESTART_NOHAND;
	} else if (!restart_undo_eintr(regs)) {
		regs->orig_rax = -1;
	}
}

bool restart_by_agent(const ThreadInfoX86 *info)
{
	return info->interrupted && info->interrupted->error == RESTART_BLOCK &&
	       info->interrupted->has_left_ns;
}

bool restart_under_way(const struct user_regs_struct *regs, const ThreadInfoX86 *info)
{
	return regs->orig_rax == info->gpregs->orig_ax && (int64_t)regs->rax == -RESTART_BLOCK;
}

void restart_ended(ThreadInfoX86 *info, int64_t result)
{
	info->gpregs->ax = result;
	info->gpregs->orig_ax = -1;
	info->gpregs->ip += 2;
	interrupted_call__free_unpacked(info->interrupted, NULL);
	info->interrupted = NULL;
}

void restart_give_up(ThreadInfoX86 *info)
{
	info->interrupted->has_left_ns = false;
}


int restart_again(struct batch *b, uint32_t thread, const ThreadInfoX86 *info)
{
	const UserX86RegsEntry *g = info->gpregs;
	uint64_t ns = info->interrupted->left_ns, left;
	struct timespec t = { ns / NS, ns % NS };

	if (batch_room(b) < sizeof(struct gate_op) + sizeof(t))
		return -1;
	left = batch_put(b, &t, sizeof(t));
	switch (g->orig_ax) {
	case SYS_nanosleep:
		return batch_op(b, thread, 0, SYS_nanosleep, 2, ga(left), gc(g->si));
	case SYS_clock_nanosleep:
		return batch_op(b, thread, 0, SYS_clock_nanosleep, 4, gc(g->di), gc(g->si),
				ga(left), gc(g->r10));
	case SYS_poll:
		return batch_op(b, thread, 0, SYS_poll, 3, gc(g->di), gc(g->si),
				gc((ns + 999999) / 1000000));
	default:
		return batch_op(b, thread, 0, SYS_futex, 6, gc(g->di), gc(g->si), gc(g->dx),
				ga(left), gc(g->r8), gc(g->r9));
	}
}
