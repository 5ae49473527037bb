/* SPDX-License-Identifier: MIT */
/*
 * gate_client.h - drive the agent of one task: build batches, ring, collect results.
 * Batches are in gate_client.c, descriptors in gate_fds.c, the death word in gate_guard.c.
 *
 * Used by the coordinator and by every worker. A gate is mapped from the descriptor of
 * the task's region; several processes may hold the same gate: a batch owns the gate
 * (a lock in the leader's mailbox) from batch_begin to batch_end.
 */
#ifndef STASIS_GATE_CLIENT_H
#define STASIS_GATE_CLIENT_H

#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/control/fault.h"
#include "pie/include/gate.h"

struct gate;
struct batch;

/* Where a task's region lies: sent to workers in control messages. */
struct gate_place {
	pid_t pid;
	uint64_t file_offset;	/* of the region in the descriptor */
	uint64_t base;		/* address in the task */
	uint64_t size;		/* bytes, whole pages */
	uint32_t nmailboxes;
};

/* Bytes a region needs for this many threads and arena bytes. */
uint64_t gate_region_size(uint32_t nmailboxes, uint64_t arena_size);

/*
 * Map a region. fd is not kept. When init is true (the creator does this once) the blob and
 * fresh mailboxes in the given mode are written first. NULL with f set on failure.
 */
struct gate *gate_open(int fd, const struct gate_place *place, bool init, enum gate_mode mode,
		       struct fault *f);
void gate_close(struct gate *g);
const struct gate_place *gate_place(const struct gate *g);
struct gate_mailbox *gate_mailbox(struct gate *g, uint32_t thread);

/* Addresses in the task. */
uint64_t gate_entry(const struct gate *g);	/* of the agent's first instruction */
uint64_t gate_mailbox_address(const struct gate *g, uint32_t thread);
uint64_t gate_arena_address(const struct gate *g);

/* Wait until thread's agent loop runs (state READY). */
int gate_wait_ready(struct gate *g, uint32_t thread, int timeout_ms, struct fault *f);

/* An argument of an operation. */
struct gate_arg {
	enum gate_kind kind;
	uint64_t value;
};

static inline struct gate_arg gc(uint64_t v) { return (struct gate_arg){ GATE_CONST, v }; }
static inline struct gate_arg ga(uint64_t off) { return (struct gate_arg){ GATE_ARENA, off }; }
static inline struct gate_arg gr(uint64_t op) { return (struct gate_arg){ GATE_RESULT, op }; }
static inline struct gate_arg gl32(uint64_t off) { return (struct gate_arg){ GATE_LOAD32, off }; }
static inline struct gate_arg gl64(uint64_t off) { return (struct gate_arg){ GATE_LOAD64, off }; }

/*
 * Start a batch for the task. Takes the gate's lock (waits for another worker's batch) and
 * empties the arena. batch_end releases it; results and arena contents are valid until then.
 * AUTO_BATCH ends it on every path.
 */
struct batch *batch_begin(struct gate *g);
void batch_end(struct batch *b);

static inline void auto_batch(struct batch **b)
{
	if (*b)
		batch_end(*b);
}

#define AUTO_BATCH __attribute__((cleanup(auto_batch)))

/*
 * Arena space, 16-byte aligned, zeroed. Returns its arena offset; *local receives its address here.
 * When the arena is full, *local is NULL: run what there is (batch_run + batch_reset) and go on.
 */
uint64_t batch_alloc(struct batch *b, size_t size, void **local);
/* Copy bytes (or a string with its NUL) into the arena; UINT64_MAX when it is full. */
uint64_t batch_put(struct batch *b, const void *data, size_t size);
uint64_t batch_put_str(struct batch *b, const char *s);
size_t batch_room(const struct batch *b);	/* arena bytes left */

/*
 * Add an operation for one thread (0 = leader): nargs gate_args follow. Returns the operation's
 * index among this thread's operations, or -1 when the arena is full. flags: enum gate_op_flags.
 */
int batch_op(struct batch *b, uint32_t thread, uint32_t flags, uint32_t nr, unsigned nargs, ...);

/*
 * Ring every thread that has operations, then wait for all. A result of an operation is not
 * a fault; a dead task or a silent agent (deadline) is. Operations stay readable by
 * batch_result until batch_reset.
 */
int batch_run(struct batch *b, int timeout_ms, struct fault *f);
/* The same in two halves, to have many tasks work at once. */
void batch_start(struct batch *b);
int batch_wait(struct batch *b, int timeout_ms, struct fault *f);

/* Whether a thread's operations of a started batch are through; does not wait. */
bool batch_done(const struct batch *b, uint32_t thread);

int64_t batch_result(const struct batch *b, uint32_t thread, int index);
/* How many of a thread's operations ran (fewer than added after GATE_STOP_ON_ERROR). */
int batch_executed(const struct batch *b, uint32_t thread);
void *batch_local(const struct batch *b, uint64_t arena_offset);
/*
 * Operations added after a run start a new list (indices from 0 again); what batch_alloc and
 * batch_put handed out stays until batch_reset, which forgets both and keeps the lock.
 */
void batch_reset(struct batch *b);

/*
 * A channel to pass descriptors into the task: a SOCK_SEQPACKET pair created in the task by
 * the agent, one end fetched with pidfd_getfd (needs ptrace rights over the task).
 * The task's end is parked at descriptor number `park`. gate_send_fds puts fds[i]
 * at number at[i] of the task with flags[i] (0 or O_CLOEXEC); targets may be in any order and
 * must not include `park`. gate_channel_close closes both ends.
 */
struct gate_channel;
struct gate_channel *gate_channel_open(struct gate *g, int park, struct fault *f);
int gate_send_fds(struct gate_channel *c, const int *fds, const int *at, const int *flags, size_t n,
		  struct fault *f);
int gate_channel_close(struct gate_channel *c, struct fault *f);
/* All of it at once, for descriptors that go there in one go. */
int gate_pass_fds(struct gate *g, int park, const int *fds, const int *at, const int *flags,
		  size_t n, struct fault *f);

/*
 * Let the leader's agent notice when the calling thread dies (also by SIGKILL): its death word
 * becomes a node of the thread's robust-futex list. The coordinator's main thread guards, best
 * before the agent starts. Any number of gates; gate_unguard, called by the same thread, takes
 * one out again (NULL or an unguarded gate is fine) and must come before gate_close.
 */
int gate_guard(struct gate *g, struct fault *f);
void gate_unguard(struct gate *g);

/*
 * A word in shared memory that tells another process of the calling thread's death, before its
 * tracees and the agents of its gates run on; ahead: by 0.1 ms at least. One listens to each. At
 * most GATE_HERALDS_MAX for each thread, until gate_herald_end (NULL or an ended one is fine).
 */
struct gate_herald {
	uint32_t death;		/* a robust futex, as in a mailbox */
	uint32_t unused;
	struct robust_list node;
};

#define GATE_HERALDS_MAX 2
void gate_herald(struct gate_herald *h, bool ahead);
void gate_herald_end(struct gate_herald *h);
/*
 * Sleep until one of these threads dies (true), or for no reason (false: call it again). n <=
 * GATE_HERALDS_MAX. True also where the kernel cannot wait for them (futex_waitv is there since
 * Linux 5.16). System calls only.
 */
bool gate_heralds_await(const struct gate_herald *const *h, size_t n);

#endif
