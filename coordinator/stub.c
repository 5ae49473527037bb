/* SPDX-License-Identifier: MIT */
/*
 * stub.c - the self-restoring stub, written as machine code into the room that room.c found.
 *
 * A thread that we move away from its program always stands in code that ends with: put the
 * signal mask back, reload every register it changed, jump to where the thread was. The
 * code lies where the task's own memory always is and needs nothing of ours to be alive: no
 * stack, no flags, no vector register, no data but itself. System calls that find the region
 * gone fail, and the thread goes on home. Never sigreturn: it would end a sleep with EINTR.
 *
 * Rights:   write to the task's memory through /proc/PID/mem (code pages too).
 * Holds:    nothing.
 */
#include "coordinator/stub.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coordinator/task_image.h"
#include "proto/control/util.h"

/* Register numbers as the instruction set counts them. */
enum reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 };

/* Code being written. Too little room is noted, not written. */
struct code {
	uint8_t *buf;
	size_t n, room;
	uint64_t at;			/* address in the task of buf[0] */
	bool full;
};

static uint64_t here(const struct code *c)
{
	return c->at + c->n;
}

static void put(struct code *c, const void *bytes, size_t n)
{
	if (c->n + n > c->room) {
		c->full = true;
		return;
	}
	memcpy(c->buf + c->n, bytes, n);
	c->n += n;
}

static void put_byte(struct code *c, uint8_t b)
{
	put(c, &b, 1);
}

/* mov REG, value in its shortest form. */
static void move(struct code *c, enum reg r, uint64_t value)
{
	int32_t small = (int32_t)value;
	uint8_t high = r >= R8;

	if (value <= UINT32_MAX) {		/* the upper half becomes zero */
		if (high)
			put_byte(c, 0x41);
		put_byte(c, 0xb8 | (r & 7));
		put(c, &value, 4);
	} else if ((uint64_t)(int64_t)small == value) {
		put(c, (uint8_t[]){ 0x48 | high, 0xc7, 0xc0 | (r & 7) }, 3);
		put(c, &small, 4);
	} else {
		put(c, (uint8_t[]){ 0x48 | high, 0xb8 | (r & 7) }, 2);
		put(c, &value, 8);
	}
}

/* lea REG, offset(BASE); BASE is r8 or r9. */
static void address(struct code *c, enum reg r, enum reg base, int8_t offset)
{
	put(c, (uint8_t[]){ 0x49, 0x8d, 0x40 | (r & 7) << 3 | (base & 7), (uint8_t)offset }, 4);
}

static void syscall_insn(struct code *c)
{
	put(c, (uint8_t[]){ 0x0f, 0x05 }, 2);
}

static void call(struct code *c, uint32_t nr)
{
	move(c, RAX, nr);
	syscall_insn(c);
}

/* jmp to an address near by. */
static void jump(struct code *c, uint64_t to)
{
	int32_t rel = (int32_t)(to - (here(c) + 5));

	put_byte(c, 0xe9);
	put(c, &rel, 4);
}

/* rt_sigprocmask(SIG_SETMASK, rsi, NULL, 8); rsi is set. */
static void set_mask(struct code *c)
{
	move(c, RDI, SIG_SETMASK);
	move(c, RDX, 0);
	move(c, R10, 8);
	call(c, SYS_rt_sigprocmask);
}

/* Registers after the kernel's restart rule: what a thread without a tracer would resume with. */
static struct user_regs_struct restarted(const struct user_regs_struct *regs)
{
	struct user_regs_struct r = *regs;

	if ((int64_t)r.orig_rax < 0)
		return r;
	switch ((int64_t)r.rax) {
	case -512:			/* ERESTARTSYS */
	case -513:			/* ERESTARTNOINTR */
	case -514:			/* ERESTARTNOHAND */
		r.rax = r.orig_rax;
		r.rip -= 2;
		break;
	case -516:			/* ERESTART_RESTARTBLOCK: the kernel keeps the rest */
		r.rax = SYS_restart_syscall;
		r.rip -= 2;
		break;
	}
	return r;
}

/* Reload the registers that our code and the kernel change, and go. */
static void go_home(struct code *c, const struct stub_home *h)
{
	const struct user_regs_struct r = restarted(h->regs);
	const uint64_t rip = r.rip;

	move(c, RCX, r.rcx);
	move(c, RDX, r.rdx);
	move(c, RSI, r.rsi);
	move(c, RDI, r.rdi);
	move(c, R8, r.r8);
	move(c, R9, r.r9);
	move(c, R10, r.r10);
	move(c, R11, r.r11);
	move(c, RAX, r.rax);
	put(c, (uint8_t[]){ 0xff, 0x25, 0, 0, 0, 0 }, 6);	/* jmp *0(%rip) */
	put(c, &rip, 8);
}

static int write_code(pid_t pid, int mem, uint64_t at, const struct code *c, struct fault *f)
{
	if (c->full)
		return fault(f, -ENOSPC, "task %d has too little unused room for the code of its "
			     "agent's way home (%zu bytes)", pid, c->room);
	if (pwrite(mem, c->buf, c->n, at) != (ssize_t)c->n)
		return fault(f, errno, "write to the code of task %d", pid);
	return 0;
}

void stub_erase(int mem, const struct stub_room *room)
{
	uint8_t zero[STUB_ROOM_MAX] = { 0 };

	/* A task that has died meanwhile needs no tidying. */
	if (pwrite(mem, zero, room->end - room->start, room->start) < 0)
		return;
}

/* ---- the leader ---- */

/*
 * After the mmap: rax == base means that there is something to unmap. jrcxz, for a comparison
 * would change the flags.
 */
static void leader_code(struct code *c, const struct stub_region *r, const struct stub_home *h,
			struct stub_layout *lay)
{
	const uint64_t mask = h->sigmask;
	uint64_t mask_at = here(c), to_mask;
	size_t hop;

	put(c, &mask, sizeof(mask));
	lay->map = here(c);
	syscall_insn(c);
	move(c, RCX, -r->base);
	put(c, (uint8_t[]){ 0x48, 0x8d, 0x0c, 0x08 }, 4);	/* lea (%rax,%rcx), %rcx */
	put(c, (uint8_t[]){ 0xe3, 0x05 }, 2);			/* jrcxz over the next jump */
	hop = c->n;
	jump(c, here(c));					/* to `mask`, filled in below */
	put(c, (uint8_t[]){ 0xeb, 0x02 }, 2);			/* jmp over the next syscall */
	lay->protect = here(c);
	syscall_insn(c);
	lay->unmap = here(c);
	move(c, RDI, r->base);
	move(c, RSI, r->size);
	call(c, SYS_munmap);
	to_mask = here(c);
	move(c, RSI, mask_at);
	set_mask(c);
	go_home(c, h);
	lay->leave = here(c);
	move(c, RDI, r->death);
	move(c, RSI, FUTEX_WAKE);
	move(c, RDX, INT_MAX);
	call(c, SYS_futex);
	jump(c, lay->unmap);
	if (!c->full) {
		int32_t rel = (int32_t)(to_mask - (c->at + hop + 5));

		memcpy(c->buf + hop + 1, &rel, 4);
	}
}

int stub_write(pid_t pid, int mem, const struct stub_room *room, const struct stub_region *region,
	       const struct stub_home *leader, struct stub_layout *lay, struct fault *f)
{
	const struct stub_mark m = { STUB_MAGIC, region->base, region->size };
	uint8_t buf[STUB_ROOM_MAX] = { 0 };
	struct code c = { .buf = buf, .room = room->end - room->start, .at = room->start };

	put(&c, &m, sizeof(m));
	leader_code(&c, region, leader, lay);
	lay->guest = lay->free = here(&c);
	return write_code(pid, mem, room->start, &c, f);
}

/* ---- guests: all other threads ---- */

#define RECORD(field) offsetof(struct stub_record, field)

/*
 * r8 = the thread's record in the region, r9 = its slot. Only system calls write to the record:
 * they fail when the region is gone, where an instruction would fault. So what comes back in a
 * register stays in one, r8, for the tracer to read: securebits, and whether the timer slack is
 * another than the usual, told without a comparison, which would change the flags. The pdeath
 * signal comes last: it is one word, and its arrival is the answer.
 */
static void ask_thread(struct code *c)
{
	const int32_t minus_usual = -TIMER_SLACK_USUAL, unusual = STUB_SLACK_UNUSUAL;

	move(c, RDI, 0);
	address(c, RSI, R8, RECORD(sas_sp));
	call(c, SYS_sigaltstack);
	move(c, RDI, PR_GET_TID_ADDRESS);
	address(c, RSI, R8, RECORD(clear_tid_addr));
	call(c, SYS_prctl);
	move(c, RDI, PR_GET_SECUREBITS);
	call(c, SYS_prctl);
	address(c, RSI, R8, RECORD(pdeath_sig));
	put(c, (uint8_t[]){ 0x41, 0x89, 0xc0 }, 3);	/* mov %eax, %r8d */
	move(c, RDI, PR_GET_TIMERSLACK);
	call(c, SYS_prctl);
	put(c, (uint8_t[]){ 0x48, 0x8d, 0x88 }, 3);	/* lea -usual(%rax), %rcx */
	put(c, &minus_usual, 4);
	put(c, (uint8_t[]){ 0xe3, 0x07 }, 2);		/* jrcxz over the next instruction */
	put(c, (uint8_t[]){ 0x4d, 0x8d, 0x80 }, 3);	/* lea unusual(%r8), %r8 */
	put(c, &unusual, 4);
	move(c, RDI, PR_GET_PDEATHSIG);
	call(c, SYS_prctl);
	put(c, (uint8_t[]){ 0x48, 0x89, 0xf7 }, 3);	/* mov %rsi, %rdi */
	move(c, RSI, FUTEX_WAKE);
	move(c, RDX, 1);
	call(c, SYS_futex);
}

/*
 * Sleep on the death word without a limit (one would change the thread's restart block). A
 * wake-up alone proves nothing: go home only when the word is another (EAGAIN) or gone
 * (EFAULT). Whoever is woken wakes the others, for the kernel wakes one.
 */
static void sleep_until_death(struct code *c, const struct stub_region *r)
{
	uint64_t again = here(c);
	int8_t back;

	move(c, RDI, r->death);
	move(c, RSI, FUTEX_WAIT);
	move(c, RDX, r->death_value);
	move(c, R10, 0);
	call(c, SYS_futex);
	put(c, (uint8_t[]){ 0x48, 0x91 }, 2);		/* xchg %rax, %rcx */
	back = (int8_t)(again - (here(c) + 2));
	put(c, (uint8_t[]){ 0xe3, (uint8_t)back }, 2);	/* jrcxz again */
	move(c, RSI, FUTEX_WAKE);
	move(c, RDX, INT_MAX);
	call(c, SYS_futex);
}

int stub_write_guest(pid_t pid, int mem, const struct stub_room *room,
		     const struct stub_region *region, struct stub_layout *lay, struct fault *f)
{
	uint8_t buf[STUB_ROOM_MAX];
	struct code c = { .buf = buf, .room = room->end - lay->guest, .at = lay->guest };

	ask_thread(&c);
	sleep_until_death(&c, region);
	address(&c, RSI, R9, -8);			/* the mask lies before the slot's code */
	set_mask(&c);
	put(&c, (uint8_t[]){ 0x41, 0xff, 0xe1 }, 3);	/* jmp *%r9 */
	lay->free = here(&c);
	return write_code(pid, mem, lay->guest, &c, f);
}

size_t stub_guest_slot(uint8_t *buf, size_t room, uint64_t at, const struct stub_home *h,
		       uint64_t *entry)
{
	struct code c = { .buf = buf, .room = room, .at = at };
	const uint64_t mask = h->sigmask;

	put(&c, &mask, sizeof(mask));
	*entry = here(&c);
	go_home(&c, h);
	return c.full ? 0 : c.n;
}

void stub_guest_enter(struct user_regs_struct *regs, const struct stub_layout *lay, uint64_t slot,
		      uint64_t record)
{
	regs->rip = lay->guest;
	regs->orig_rax = -1;
	regs->r8 = record;
	regs->r9 = slot;
}
