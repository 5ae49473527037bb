/* SPDX-License-Identifier: MIT */
/*
 * guests.c - ask every thread what the kernel tells to the thread alone.
 *
 * Leaders are asked through their gate. Every other thread is sent for a moment through the
 * guests' code in the vDSO (stub.c): four system calls, then it sleeps until it is fetched.
 * Each needs a slot there that brings it home; some ten fit. So the threads come in waves, and
 * the slots are two halves: while the threads of one half run, the others are fetched.
 *
 * Dump:     COLLECT.
 * Rights:   the tracer's.
 * Holds:    threads that are away, until their half is fetched.
 * Relies on the agent being in: guests sleep on the word that tells it of our death.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "coordinator/inject.h"
#include "coordinator/seat.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"

#define SLOTS_MAX 32			/* a half; records of both fit in their page */
#define SPIN 300
#define SLICE_NS 20000000l

/* The guests of one half of a task's slots. */
struct half {
	struct thread *guest[SLOTS_MAX];
	struct stub_record *record[SLOTS_MAX];
	size_t n;
	bool running;
};

/* A task whose threads are being asked. */
struct tour {
	struct task *task;
	struct stub_region region;	/* with the death word's value */
	size_t next;			/* thread not asked yet */
	struct half half[2];
};

/* ---- leaders ---- */

struct leader_answer {
	struct batch *batch;
	uint64_t at;			/* a struct stub_record in the arena */
	int securebits;			/* operation number */
};

static void ask_leader(struct task *t, struct leader_answer *a)
{
	struct stub_record *r;
	void *local;

	a->batch = batch_begin(t->gate);
	a->at = batch_alloc(a->batch, sizeof(*r), &local);
	batch_op(a->batch, 0, 0, SYS_sigaltstack, 2, gc(0),
		 ga(a->at + offsetof(struct stub_record, sas_sp)));
	batch_op(a->batch, 0, 0, SYS_prctl, 2, gc(PR_GET_TID_ADDRESS),
		 ga(a->at + offsetof(struct stub_record, clear_tid_addr)));
	batch_op(a->batch, 0, 0, SYS_prctl, 2, gc(PR_GET_PDEATHSIG),
		 ga(a->at + offsetof(struct stub_record, pdeath_sig)));
	a->securebits = batch_op(a->batch, 0, 0, SYS_prctl, 1, gc(PR_GET_SECUREBITS));
	batch_start(a->batch);
}

static void note_facts(struct thread *th, const struct stub_record *r)
{
	struct thread_facts *facts = &thread_frozen(th)->facts;

	facts->clear_tid_addr = r->clear_tid_addr;
	facts->sas_sp = r->sas_sp;
	facts->sas_size = r->sas_size;
	/* Whether it stands on that stack now is no setting. */
	facts->sas_flags = (uint32_t)r->sas_flags & ~(uint32_t)SS_ONSTACK;
	facts->pdeath_sig = r->pdeath_sig;
}

static int ask_leaders(struct job *job, struct fault *f)
{
	AUTO_FREE struct leader_answer *a = xcalloc(job->ntasks, sizeof(*a));
	size_t i;
	int r = 0;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->gate)
			ask_leader(job->tasks[i], &a[i]);
	for (i = 0; i < job->ntasks; i++) {
		if (!a[i].batch)
			continue;
		if (r == 0)
			r = batch_wait(a[i].batch, SEAT_TIMEOUT_MS, f);
		if (r == 0) {
			struct thread *leader = &job->tasks[i]->threads[0];

			note_facts(leader, batch_local(a[i].batch, a[i].at));
			thread_frozen(leader)->facts.securebits =
				batch_result(a[i].batch, 0, a[i].securebits);
		}
		batch_end(a[i].batch);
	}
	return r;
}

/* ---- a wave ---- */

/* The slots of half h. Both halves have the same size. */
static uint64_t half_room(const struct seat *s)
{
	return ((s->room.end - s->lay.free) / 2) & ~15ul;
}

static uint64_t half_start(const struct seat *s, int h)
{
	return s->lay.free + h * half_room(s);
}

static uint64_t record_address(const struct seat *s, const struct stub_record *r)
{
	return s->region.base + s->region.size - GATE_PAGE + (uint64_t)((const char *)r - (const char *)s->records);
}

/* Send one thread: its slot is written already. */
static int send_guest(struct job *job, struct tour *tour, struct thread *th, struct stub_record *record,
		      uint64_t slot, struct fault *f)
{
	struct user_regs_struct r = thread_frozen(th)->regs;
	struct seat *s = tour->task->seat;

	memset(record, 0, sizeof(*record));
	record->pdeath_sig = STUB_UNANSWERED;
	stub_guest_enter(&r, &s->lay, slot, record_address(s, record));
	if (seat_away(job, th, &r, f) < 0)
		return -1;
	ptrace(PTRACE_CONT, th->tid, NULL, 0);
	step(job, "guest runs");
	return 0;
}

/* Fill a half with the next threads and set them going. */
static int send_half(struct job *job, struct tour *tour, int h, struct fault *f)
{
	struct half *half = &tour->half[h];
	struct task *t = tour->task;
	struct seat *s = t->seat;
	uint64_t at = half_start(s, h), room = half_room(s), entry[SLOTS_MAX];
	uint8_t code[room];
	size_t used = 0, size, i;

	half->n = 0;
	for (; half->n < SLOTS_MAX && tour->next < t->nthreads; half->n++, tour->next++) {
		struct thread *th = &t->threads[tour->next];
		const struct frozen *z = thread_frozen(th);
		const struct stub_home home = { &z->regs, z->sigmask };

		size = stub_guest_slot(code + used, room - used, at + used, &home, &entry[half->n]);
		if (!size)
			break;
		used += size;
		half->guest[half->n] = th;
		half->record[half->n] = &s->records[h * SLOTS_MAX + half->n];
	}
	half->running = half->n > 0;
	if (used && pwrite(s->mem, code, used, at) != (ssize_t)used)
		return fault(f, errno, "write to the vDSO of task %d", t->pid);
	step(job, "slots");
	for (i = 0; i < half->n; i++)
		if (send_guest(job, tour, half->guest[i], half->record[i], entry[i], f) < 0)
			return -1;
	return 0;
}

static bool answered(const struct stub_record *r)
{
	return __atomic_load_n(&r->pdeath_sig, __ATOMIC_ACQUIRE) != STUB_UNANSWERED;
}

/* A SIGSTOP may have stopped the guest: let it take effect, and the guest go on. */
static int check_guest(struct task *t, struct thread *th, struct fault *f)
{
	int status, r;

	while ((r = freeze_wait_stop(th->tid, 0, &status)) == 1)
		ptrace(PTRACE_CONT, th->tid, NULL, status >> 16 ? 0 : WSTOPSIG(status));
	if (r < 0)
		return fault(f, -ESRCH, "task %d, thread %d died", t->pid, th->tid);
	return 0;
}

static int await_answer(struct task *t, struct thread *th, struct stub_record *r, struct fault *f)
{
	const struct timespec slice = { .tv_nsec = SLICE_NS };
	int64_t end = stop_now_ms() + SEAT_TIMEOUT_MS;
	int i;

	for (i = 0; i < SPIN && !answered(r); i++)
		__builtin_ia32_pause();
	while (!answered(r)) {
		syscall(SYS_futex, &r->pdeath_sig, FUTEX_WAIT, STUB_UNANSWERED, &slice, NULL, 0);
		if (answered(r))
			break;
		if (check_guest(t, th, f) < 0)
			return -1;
		if (stop_now_ms() > end)
			return fault(f, -ETIMEDOUT, "task %d, thread %d does not answer", t->pid, th->tid);
	}
	return 0;
}

/* What the guest kept in r8. */
static void note_register(struct thread *th, struct fault *f)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, th->tid, NULL, &r) < 0)
		fault(f, errno, "read the registers of thread %d", th->tid);
	else
		thread_frozen(th)->facts.securebits = (uint32_t)r.r8;
}

/* Bring every guest of a half home, also after a fault: away threads must not stay away. */
static int fetch_half(struct job *job, struct tour *tour, int h, struct fault *f)
{
	struct half *half = &tour->half[h];
	struct task *t = tour->task;
	struct fault why = { 0 };
	struct thread *th;
	size_t i;

	for (i = 0; i < half->n; i++)
		if (thread_frozen(half->guest[i])->away && !why.code &&
		    await_answer(t, half->guest[i], half->record[i], &why) == 0)
			note_facts(half->guest[i], half->record[i]);
	for (i = 0; i < half->n; i++)
		if (thread_frozen(half->guest[i])->away)
			ptrace(PTRACE_INTERRUPT, half->guest[i]->tid, NULL, NULL);
	for (i = 0; i < half->n; i++) {
		th = half->guest[i];
		if (!thread_frozen(th)->away)
			continue;
		if (seat_stop(t, th->tid, true, &why) == 0) {
			step(job, "guest stopped");
			note_register(th, &why);
			seat_home(job, th, &why);
		}
	}
	half->n = 0;
	half->running = false;
	if (!why.code)
		return 0;
	*f = why;
	return -1;
}

/* ---- all tasks ---- */

static int begin_tour(struct tour *tour, struct task *t, struct fault *f)
{
	struct gate_mailbox *m = gate_mailbox(t->gate, 0);

	tour->task = t;
	tour->next = 1;
	tour->region = t->seat->region;
	/* With the waiters' bit the kernel wakes somebody; the agent sets it too. */
	tour->region.death_value = __atomic_or_fetch(&m->death, GATE_WAITERS_BIT, __ATOMIC_SEQ_CST);
	return stub_write_guest(t->pid, t->seat->mem, &t->seat->room, &tour->region, &t->seat->lay, f);
}

/* All tasks' half 0, then all tasks' half 1, and so on, so that they overlap. */
static int run_tours(struct job *job, struct tour *tours, size_t n, struct fault *f)
{
	bool left = true;
	size_t i;
	int h;

	for (h = 0; left; h ^= 1) {
		left = false;
		for (i = 0; i < n; i++) {
			if (tours[i].half[h].running && fetch_half(job, &tours[i], h, f) < 0)
				return -1;
			if (tours[i].next < tours[i].task->nthreads && send_half(job, &tours[i], h, f) < 0)
				return -1;
			left = left || tours[i].half[h].running || tours[i].half[h ^ 1].running;
		}
	}
	return 0;
}

static int ask_guests(struct job *job, struct tour *tours, struct fault *f)
{
	struct fault ignored;
	size_t i, n = 0;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->gate && job->tasks[i]->nthreads > 1 &&
		    begin_tour(&tours[n++], job->tasks[i], f) < 0)
			return -1;
	if (run_tours(job, tours, n, f) == 0)
		return 0;
	for (i = 0; i < 2 * n; i++) {
		ignored = (struct fault){ 0 };
		fetch_half(job, &tours[i / 2], i % 2, &ignored);
	}
	return -1;
}

int inject_thread_facts(struct job *job, struct fault *f)
{
	AUTO_FREE struct tour *tours = xcalloc(job->ntasks, sizeof(*tours));
	int r;

	if (ask_leaders(job, f) < 0)
		return -1;
	/* Thousands of guests stop and go: no signal handler for each. */
	freeze_unwatch();
	r = ask_guests(job, tours, f);
	inject_watch(job);
	return r;
}
