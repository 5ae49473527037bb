/* SPDX-License-Identifier: MIT */
/*
 * agent.c - the only code of ours that runs inside a task: make system calls on request.
 *
 * Dump:     runs on the group leader over the frozen program; leaves through the stub.
 * Restore:  is the whole task until its memory and state stand; one loop per thread.
 * Rights:   the task's own.
 * Holds:    nothing outside the thread's mailbox page, which is its stack too; so any
 *           number of threads run the same blob.
 * Relies on all signals being blocked. No libc, no writable data, no relocations, no vector
 * registers (a dump must leave the program's untouched).
 */
#include "pie/arch/x86_64/syscall.h"
#include "pie/include/gate.h"

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX2_SIZE_U32 2

struct futex_waitv_entry {
	uint64_t value;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};

struct pause_time {
	int64_t seconds;
	int64_t nanoseconds;
};

enum outcome { GO_ON, PEER_DIED, LEAVE };

void agent_main(struct gate_mailbox *m) __attribute__((noreturn, used, visibility("hidden")));

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static int64_t futex(uint32_t *word, uint64_t op, uint64_t value, const struct pause_time *limit)
{
	const uint64_t a[6] = { (uint64_t)word, op, value, (uint64_t)limit };

	return syscall6(NR_futex, a);
}

static void store_and_wake(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, INT32_MAX, 0);
}

/*
 * Sleep until `request` may differ from seen or the peer died. A death word of 0 has no peer
 * behind it (threads of a restore: their leader ends them). The kernel wakes a robust futex
 * only when it has been told that somebody waits.
 */
static void sleep_on(struct gate_mailbox *m, uint32_t seen, uint32_t death)
{
	const struct pause_time slice = { 0, 20000000 };
	struct futex_waitv_entry words[2] = {
		{ seen, (uint64_t)&m->request, FUTEX2_SIZE_U32, 0 },
		{ death, (uint64_t)&m->death, FUTEX2_SIZE_U32, 0 },
	};
	const uint64_t a[6] = { (uint64_t)words, 2 };

	if (!death) {
		futex(&m->request, FUTEX_WAIT, seen, 0);
	} else if (!(death & GATE_WAITERS_BIT)) {
		__atomic_compare_exchange_n(&m->death, &death, death | GATE_WAITERS_BIT, 0,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	} else if (syscall6(NR_futex_waitv, a) == -38) {
		/* ENOSYS: Linux before 5.16 waits on one word; look at the other now and then. */
		futex(&m->request, FUTEX_WAIT, seen, &slice);
	}
}

static enum outcome wait_for_request(struct gate_mailbox *m, uint32_t seen)
{
	uint32_t polls = 0, death;

	while (load(&m->request) == seen) {
		death = load(&m->death);
		if (death & GATE_DEATH_BIT)
			return PEER_DIED;
		if (polls < m->spin) {
			polls++;
			cpu_relax();
		} else {
			sleep_on(m, seen, death);
		}
	}
	return GO_ON;
}

static uint64_t argument(const struct gate_mailbox *m, const struct gate_op *ops, uint32_t kind,
			 uint64_t value)
{
	switch (kind) {
	case GATE_ARENA:
		return m->arena + value;
	case GATE_RESULT:
		return ops[value].ret;
	case GATE_LOAD32:
		return *(const int32_t *)(m->arena + value);
	case GATE_LOAD64:
		return *(const uint64_t *)(m->arena + value);
	}
	return value;
}

static int64_t copy(uint64_t to, uint64_t from, uint64_t size)
{
	volatile uint8_t *t = (volatile uint8_t *)to;
	const uint8_t *s = (const uint8_t *)from;

	while (size--)
		*t++ = *s++;
	return 0;
}

static int64_t perform(uint32_t nr, const uint64_t a[6])
{
	switch (nr) {
	case GATE_OP_CLONE:
		return clone_agent(a[0], a[1], a[2], a[3]);
	case GATE_OP_AMX_TOUCH:
		return amx_touch(a[0]);
	case GATE_OP_COPY:
		return copy(a[0], a[1], a[2]);
	case GATE_OP_STORE32:
		*(volatile uint32_t *)a[0] = a[1];
		return 0;
	case GATE_OP_STORE64:
		*(volatile uint64_t *)a[0] = a[1];
		return 0;
	case GATE_OP_LEAVE:
		return 0;
	}
	return syscall6(nr, a);
}

/* Run one batch. `executed` moves with it, so that the peer of a stuck one can name the call. */
static enum outcome run_batch(struct gate_mailbox *m)
{
	struct gate_op *ops = (struct gate_op *)m->ops, *op;
	uint32_t n = m->nops, i, j, kinds;
	uint64_t a[6];

	__atomic_store_n(&m->executed, 0, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++) {
		op = &ops[i];
		kinds = op->kinds;
		for (j = 0; j < 6; j++, kinds >>= 4)
			a[j] = argument(m, ops, kinds & 15, op->arg[j]);
		op->ret = perform(op->nr, a);
		__atomic_store_n(&m->executed, i + 1, __ATOMIC_RELAXED);
		if (op->nr == GATE_OP_LEAVE)
			return LEAVE;
		if ((op->flags & GATE_STOP_ON_ERROR) && op->ret < 0 && op->ret >= -4095)
			break;
	}
	return GO_ON;
}

static void __attribute__((noreturn)) finish(struct gate_mailbox *m)
{
	const uint64_t status[6] = { 1 };

	store_and_wake(&m->state, GATE_LEFT);
	if (m->mode == GATE_MODE_DUMP)
		leave_through_stub(m);
	for (;;)
		syscall6(NR_exit_group, status);
}

void agent_main(struct gate_mailbox *m)
{
	uint32_t seen = m->done;
	enum outcome next;

	if (m->version != GATE_VERSION)
		finish(m);
	store_and_wake(&m->state, GATE_READY);
	do {
		next = wait_for_request(m, seen);
		if (next == GO_ON) {
			seen = load(&m->request);
			next = run_batch(m);
			store_and_wake(&m->done, seen);
		}
	} while (next == GO_ON);
	finish(m);
}
