/* SPDX-License-Identifier: MIT */
/*
 * gate_client.c - the far side of the call gate: map a task's region, fill in batches, ring, wait.
 *
 * Rights:   none beyond the region's descriptor.
 * Holds:    per gate the mapping, the operations of the current batch, and a pidfd once
 *           the agent was slow.
 * Relies on the region's memory only for results: the task shares it, so nothing read
 * there is used as a length, an index or a pointer without a check.
 */
#include "workers/common/gate_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/procfs.h"

#define LOCK_WAITERS 0x80000000u
#define SLICE_MS 50		/* how often a sleeper looks whether the other side lives */
#define AGENT_SPIN 200u		/* polls; some 5 us */
#define CLIENT_SPIN 2000u	/* at most */

extern const char stasis_agent_blob[], stasis_agent_blob_end[];

struct thread_ops {
	struct gate_op *ops;		/* as added; copied to the arena when rung */
	size_t cap;
	uint32_t n;
	uint32_t request;		/* the number of the ring */
	struct gate_op *shared;		/* the copy, where results appear */
};

struct batch {
	struct gate *gate;
	pid_t lost_to;			/* a process that died holding the gate; 0: we hold it */
	bool rung;
	uint64_t used;			/* arena bytes from its start; operations go to its end */
	uint64_t nops;			/* of all threads */
	struct thread_ops *of;		/* by thread */
	uint32_t *threads;		/* those with operations */
	size_t nthreads, threads_cap;
};

struct gate {
	struct gate_place place;
	char *map;
	int pidfd;
	bool alone;			/* one processor only: spinning is useless */
	uint32_t spin;			/* what paid off lately */
	struct batch batch;
};

static uint64_t arena_start(const struct gate *g)
{
	return GATE_BLOB_SIZE + g->place.nmailboxes * GATE_PAGE;
}

static uint64_t arena_size(const struct gate *g)
{
	return g->place.size - arena_start(g);
}

uint64_t gate_region_size(uint32_t nmailboxes, uint64_t arena)
{
	return GATE_BLOB_SIZE + nmailboxes * GATE_PAGE +
	       (arena + GATE_PAGE - 1) / GATE_PAGE * GATE_PAGE;
}

const struct gate_place *gate_place(const struct gate *g)
{
	return &g->place;
}

struct gate_mailbox *gate_mailbox(struct gate *g, uint32_t thread)
{
	if (thread >= g->place.nmailboxes)
		die("gate of task %d has no mailbox %u", g->place.pid, thread);
	return (struct gate_mailbox *)(g->map + GATE_BLOB_SIZE + thread * GATE_PAGE);
}

uint64_t gate_entry(const struct gate *g)
{
	return g->place.base;
}

uint64_t gate_mailbox_address(const struct gate *g, uint32_t thread)
{
	return g->place.base + GATE_BLOB_SIZE + thread * GATE_PAGE;
}

uint64_t gate_arena_address(const struct gate *g)
{
	return g->place.base + arena_start(g);
}

/*
 * Only the leader spins: thousands of threads that poll after each batch would keep the
 * processors from the work.
 */
static void init_region(struct gate *g, enum gate_mode mode)
{
	struct gate_mailbox *m;
	uint32_t i;

	memcpy(g->map, stasis_agent_blob, stasis_agent_blob_end - stasis_agent_blob);
	for (i = 0; i < g->place.nmailboxes; i++) {
		m = gate_mailbox(g, i);
		memset(m, 0, sizeof(*m));
		m->mode = mode;
		m->version = GATE_VERSION;
		m->spin = i || g->alone ? 0 : AGENT_SPIN;
		m->arena = gate_arena_address(g);
		m->region = g->place.base;
		m->region_size = g->place.size;
	}
}

struct gate *gate_open(int fd, const struct gate_place *place, bool init, enum gate_mode mode,
		       struct fault *f)
{
	struct gate *g;
	cpu_set_t cpus;
	void *map;

	if (!place->nmailboxes || place->nmailboxes > UINT32_MAX / GATE_PAGE ||
	    place->size % GATE_PAGE || place->size <= gate_region_size(place->nmailboxes, 0)) {
		fault(f, -EINVAL, "gate of task %d: a region of %#lx bytes does not hold %u "
		      "mailboxes", place->pid, (unsigned long)place->size, place->nmailboxes);
		return NULL;
	}
	map = mmap(NULL, place->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, place->file_offset);
	if (map == MAP_FAILED) {
		fault(f, errno, "map the gate of task %d", place->pid);
		return NULL;
	}
	g = xcalloc(1, sizeof(*g));
	g->place = *place;
	g->map = map;
	g->pidfd = -1;
	g->alone = !sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1;
	g->spin = CLIENT_SPIN;
	g->batch.gate = g;
	g->batch.of = xcalloc(place->nmailboxes, sizeof(*g->batch.of));
	if (init)
		init_region(g, mode);
	return g;
}

void gate_close(struct gate *g)
{
	uint32_t i;

	if (!g)
		return;
	auto_close(&g->pidfd);
	for (i = 0; i < g->place.nmailboxes; i++)
		free(g->batch.of[i].ops);
	free(g->batch.of);
	free(g->batch.threads);
	munmap(g->map, g->place.size);
	free(g);
}

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* The words are shared between processes: never FUTEX_PRIVATE_FLAG. */
static void futex_wait_slice(uint32_t *word, uint32_t value)
{
	const struct timespec slice = { .tv_nsec = SLICE_MS * 1000000l };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &slice, NULL, 0);
}

static void futex_wake(uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

/* Whether a process (or thread) is gone. A zombie is: nobody may reap it while we wait. */
static bool is_dead(pid_t pid)
{
	AUTO_CLOSE int fd = -1;
	char path[32], text[512], *p;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return true;
	text[n] = '\0';
	p = strrchr(text, ')');
	return p && p[1] && (p[2] == 'Z' || p[2] == 'X');
}

/*
 * Returns -1 with f set when the task is dead. The pidfd is opened at the first doubt only; of a
 * traced task with several threads it says nothing before the tracer has waited for all.
 */
static int check_alive(struct gate *g, struct fault *f)
{
	struct pollfd p = { .events = POLLIN };

	if (g->pidfd < 0) {
		g->pidfd = procfs_pidfd(g->place.pid);
		if (g->pidfd < 0 && errno == ESRCH)
			return fault(f, -ESRCH, "task %d died", g->place.pid);
		if (g->pidfd < 0)
			return fault(f, errno, "watch task %d", g->place.pid);
	}
	p.fd = g->pidfd;
	if (poll(&p, 1, 0) > 0 || is_dead(g->place.pid))
		return fault(f, -ESRCH, "task %d died", g->place.pid);
	return 0;
}

int gate_wait_ready(struct gate *g, uint32_t thread, int timeout_ms, struct fault *f)
{
	struct gate_mailbox *m = gate_mailbox(g, thread);
	int64_t end = monotonic_ms() + timeout_ms;
	uint32_t state;

	while ((state = load(&m->state)) != GATE_READY) {
		if (state == GATE_LEFT)
			return fault(f, -EPROTO, "task %d: its agent left at once", g->place.pid);
		futex_wait_slice(&m->state, state);
		if (load(&m->state) != state)
			continue;
		if (check_alive(g, f) < 0)
			return -1;
		if (monotonic_ms() >= end)
			return fault(f, -ETIMEDOUT, "task %d: the agent of thread %u did not start "
				     "in %d ms", g->place.pid, thread, timeout_ms);
	}
	return 0;
}

/* Returns 0 when the gate is ours, else the process that died while it held it. */
static pid_t lock_gate(struct gate *g)
{
	uint32_t *word = &gate_mailbox(g, 0)->lock;
	uint32_t me = gettid(), mine = me, v = 0;

	while (!__atomic_compare_exchange_n(word, &v, mine, 0, __ATOMIC_ACQUIRE,
					    __ATOMIC_RELAXED)) {
		if ((v & ~LOCK_WAITERS) == me)
			die("the gate of task %d is entered twice", g->place.pid);
		if ((v & LOCK_WAITERS) ||
		    __atomic_compare_exchange_n(word, &v, v | LOCK_WAITERS, 0, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED)) {
			v |= LOCK_WAITERS;
			futex_wait_slice(word, v);
			if (load(word) == v && is_dead(v & ~LOCK_WAITERS))
				return v & ~LOCK_WAITERS;
			mine = me | LOCK_WAITERS;	/* others may wait too */
		}
		v = 0;
	}
	return 0;
}

static void unlock_gate(struct gate *g)
{
	uint32_t *word = &gate_mailbox(g, 0)->lock;

	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) & LOCK_WAITERS)
		futex_wake(word, 1);
}

static void forget_ops(struct batch *b)
{
	size_t i;

	for (i = 0; i < b->nthreads; i++)
		b->of[b->threads[i]].n = 0;
	b->nthreads = 0;
	b->nops = 0;
	b->rung = false;
}

struct batch *batch_begin(struct gate *g)
{
	g->batch.lost_to = lock_gate(g);
	batch_reset(&g->batch);
	return &g->batch;
}

void batch_end(struct batch *b)
{
	if (!b->lost_to)
		unlock_gate(b->gate);
}

void batch_reset(struct batch *b)
{
	forget_ops(b);
	b->used = 0;
}

size_t batch_room(const struct batch *b)
{
	return arena_size(b->gate) - b->used - b->nops * sizeof(struct gate_op);
}

void *batch_local(const struct batch *b, uint64_t arena_offset)
{
	return b->gate->map + arena_start(b->gate) + arena_offset;
}

static uint64_t take_arena(struct batch *b, size_t size)
{
	uint64_t at = b->used;

	if (size > batch_room(b) || ((size + 15) & ~15ul) > batch_room(b))
		return UINT64_MAX;
	b->used += (size + 15) & ~15ul;
	return at;
}

uint64_t batch_alloc(struct batch *b, size_t size, void **local)
{
	uint64_t at = take_arena(b, size);

	*local = at == UINT64_MAX ? NULL : memset(batch_local(b, at), 0, size);
	return at;
}

uint64_t batch_put(struct batch *b, const void *data, size_t size)
{
	uint64_t at = take_arena(b, size);

	if (at != UINT64_MAX)
		memcpy(batch_local(b, at), data, size);
	return at;
}

uint64_t batch_put_str(struct batch *b, const char *s)
{
	return batch_put(b, s, strlen(s) + 1);
}

static struct gate_op *new_op(struct batch *b, uint32_t thread)
{
	struct thread_ops *t = &b->of[thread];

	if (!t->n) {
		if (b->nthreads == b->threads_cap) {
			b->threads_cap = b->threads_cap ? 2 * b->threads_cap : 16;
			b->threads = xrealloc(b->threads, b->threads_cap, sizeof(*b->threads));
		}
		b->threads[b->nthreads++] = thread;
	}
	b->nops++;
	return grow(&t->ops, t->n++, &t->cap, sizeof(*t->ops));
}

int batch_op(struct batch *b, uint32_t thread, uint32_t flags, uint32_t nr, unsigned nargs, ...)
{
	struct gate_op *op;
	va_list ap;
	unsigned i;

	if (thread >= b->gate->place.nmailboxes || nargs > ARRAY_LEN(op->arg))
		die("batch_op: thread %u, %u arguments", thread, nargs);
	if (b->rung)
		forget_ops(b);
	if (batch_room(b) < sizeof(*op))
		return -1;
	op = new_op(b, thread);
	op->nr = nr;
	op->flags = flags;
	op->ret = -ECANCELED;
	va_start(ap, nargs);
	for (i = 0; i < nargs; i++) {
		struct gate_arg a = va_arg(ap, struct gate_arg);

		op->kinds |= (uint32_t)a.kind << (4 * i);
		op->arg[i] = a.value;
	}
	va_end(ap);
	return b->of[thread].n - 1;
}

void batch_start(struct batch *b)
{
	uint64_t at = arena_size(b->gate);
	struct gate_mailbox *m;
	struct thread_ops *t;
	size_t i;

	if (b->lost_to || b->rung)
		return;
	for (i = 0; i < b->nthreads; i++) {
		t = &b->of[b->threads[i]];
		m = gate_mailbox(b->gate, b->threads[i]);
		at -= t->n * sizeof(struct gate_op);
		t->shared = batch_local(b, at);
		memcpy(t->shared, t->ops, t->n * sizeof(struct gate_op));
		m->nops = t->n;
		m->ops = gate_arena_address(b->gate) + at;
		t->request = m->request + 1;
		__atomic_store_n(&m->request, t->request, __ATOMIC_RELEASE);
		futex_wake(&m->request, 1);
	}
	b->rung = true;
}

/* Poll for a moment before sleeping; how long is learnt from whether it pays. */
static bool spin_until(struct gate *g, const uint32_t *word, uint32_t value)
{
	uint32_t i;

	if (g->alone)
		return false;
	for (i = 0; i < g->spin; i++) {
		if (load(word) == value) {
			g->spin = g->spin < CLIENT_SPIN / 2 ? 2 * g->spin + 16 : CLIENT_SPIN;
			return true;
		}
		__builtin_ia32_pause();
	}
	g->spin /= 2;
	return false;
}

static int silent(struct batch *b, uint32_t thread, int timeout_ms, struct fault *f)
{
	struct thread_ops *t = &b->of[thread];
	uint32_t at = load(&gate_mailbox(b->gate, thread)->executed);

	if (at >= t->n)
		at = 0;
	return fault(f, -ETIMEDOUT, "task %d: the agent of thread %u does not answer within %d ms "
		     "(operation %u of %u, system call %u)", b->gate->place.pid, thread, timeout_ms,
		     at + 1, t->n, t->ops[at].nr);
}

static int wait_thread(struct batch *b, uint32_t thread, int64_t end, int timeout_ms,
		       struct fault *f)
{
	struct gate_mailbox *m = gate_mailbox(b->gate, thread);
	uint32_t want = b->of[thread].request, done;

	if (spin_until(b->gate, &m->done, want))
		return 0;
	while ((done = load(&m->done)) != want) {
		futex_wait_slice(&m->done, done);
		if (load(&m->done) == want)
			break;
		if (load(&m->state) == GATE_LEFT && load(&m->done) != want)
			return fault(f, -EPROTO, "task %d: its agent has left", b->gate->place.pid);
		if (check_alive(b->gate, f) < 0)
			return -1;
		if (monotonic_ms() >= end)
			return silent(b, thread, timeout_ms, f);
	}
	return 0;
}

int batch_wait(struct batch *b, int timeout_ms, struct fault *f)
{
	int64_t end = monotonic_ms() + timeout_ms;
	size_t i;

	if (b->lost_to)
		return fault(f, -EOWNERDEAD, "task %d: process %d died while it used the task's "
			     "agent", b->gate->place.pid, b->lost_to);
	for (i = 0; i < b->nthreads; i++)
		if (wait_thread(b, b->threads[i], end, timeout_ms, f) < 0)
			return -1;
	return 0;
}

int batch_run(struct batch *b, int timeout_ms, struct fault *f)
{
	batch_start(b);
	return batch_wait(b, timeout_ms, f);
}

bool batch_done(const struct batch *b, uint32_t thread)
{
	return b->rung && load(&gate_mailbox(b->gate, thread)->done) == b->of[thread].request;
}

int64_t batch_result(const struct batch *b, uint32_t thread, int index)
{
	if (!b->rung || index < 0 || (uint32_t)index >= b->of[thread].n)
		die("task %d has no result %d of thread %u", b->gate->place.pid, index, thread);
	return b->of[thread].shared[index].ret;
}

int batch_executed(const struct batch *b, uint32_t thread)
{
	uint32_t n = load(&gate_mailbox(b->gate, thread)->executed);

	return n < b->of[thread].n ? n : b->of[thread].n;
}
