/* SPDX-License-Identifier: MIT */
/*
 * guests.c - ask every thread what the kernel tells to the thread alone.
 *
 * Leaders are asked through their gate. Every other thread is sent for a moment through the
 * guests' code beside the leader's stub (stub.c): five system calls, then it sleeps until it is
 * fetched. Each needs a slot there that brings it home; some ten fit. So the threads come in waves,
 * and the slots are two halves: while the threads of one half run, the others are fetched.
 *
 * Dump:     COLLECT.
 * Rights:   the tracer's.
 * Holds:    threads that are away, until they are fetched.
 * Relies on the agent being in: guests sleep on the word that tells it of our death.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "coordinator/inject.h"
#include "coordinator/seat.h"
#include "coordinator/stops.h"
#include "coordinator/task_image.h"
#include "proto/control/util.h"

#define SLOT_SIZE 112			/* the longest that stub_guest_slot makes */
#define SLOTS_MAX 32			/* with a record each in the page of records */
#define SPIN 300
#define SLICE_NS 1000000l

/*
 * A task whose threads are being asked: numbers of threads, from 1. Those below `home` are home
 * again, those below `called` are called back, those below `sent` are sent.
 */
struct tour {
	struct task *task;
	size_t nslots;
	size_t home, called, sent;
	told_thread *told;
	void *ctx;
};

/* ---- leaders ---- */

struct leader_answer {
	struct batch *batch;
	uint64_t at;			/* a struct stub_record in the arena */
	int securebits, slack;		/* operation numbers */
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
	a->slack = batch_op(a->batch, 0, 0, SYS_prctl, 1, gc(PR_GET_TIMERSLACK));
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
			thread_frozen(leader)->facts.slack_unusual =
				batch_result(a[i].batch, 0, a[i].slack) != TIMER_SLACK_USUAL;
		}
		batch_end(a[i].batch);
	}
	return r;
}

/* ---- a guest ---- */

static uint64_t slot_address(const struct tour *tour, size_t i)
{
	return tour->task->seat->lay.free + i % tour->nslots * SLOT_SIZE;
}

static struct stub_record *record_of(const struct tour *tour, size_t i)
{
	return &tour->task->seat->records[i % tour->nslots];
}

static uint64_t record_address(const struct tour *tour, size_t i)
{
	const struct stub_region *r = &tour->task->seat->region;

	return r->base + r->size - GATE_PAGE + i % tour->nslots * sizeof(struct stub_record);
}

/* Send thread i: first its way home, then itself. */
static int send_guest(struct job *job, struct tour *tour, size_t i, struct fault *f)
{
	struct thread *th = &tour->task->threads[i];
	const struct frozen *z = thread_frozen(th);
	const struct stub_home home = { &z->regs, z->sigmask };
	struct user_regs_struct r = z->regs;
	struct seat *s = tour->task->seat;
	uint64_t at = slot_address(tour, i), entry;
	uint8_t code[SLOT_SIZE];
	size_t size = stub_guest_slot(code, sizeof(code), at, &home, &entry);

	if (!size)
		die("a slot needs more than %d bytes", SLOT_SIZE);
	if (pwrite(s->mem, code, size, at) != (ssize_t)size)
		return fault(f, errno, "write to the code of task %d", tour->task->pid);
	step(job, "slot");
	*record_of(tour, i) = (struct stub_record){ .pdeath_sig = STUB_UNANSWERED };
	stub_guest_enter(&r, &s->lay, entry, record_address(tour, i));
	if (seat_away(job, th, &r, f) < 0)
		return -1;
	ptrace(PTRACE_CONT, th->tid, NULL, 0);
	step(job, "guest runs");
	return 0;
}

static bool answered(const struct stub_record *r)
{
	return __atomic_load_n(&r->pdeath_sig, __ATOMIC_ACQUIRE) != STUB_UNANSWERED;
}

/* A SIGSTOP, or that its task is stopped, may have stopped the guest: it must go on. */
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
	int64_t end = monotonic_ms() + SEAT_TIMEOUT_MS;
	int i;

	for (i = 0; i < SPIN && !answered(r); i++)
		__builtin_ia32_pause();
	while (!answered(r)) {
		if (check_guest(t, th, f) < 0)
			return -1;
		if (monotonic_ms() > end)
			return fault(f, -ETIMEDOUT, "task %d, thread %d does not answer", t->pid,
				     th->tid);
		syscall(SYS_futex, &r->pdeath_sig, FUTEX_WAIT, STUB_UNANSWERED, &slice, NULL, 0);
	}
	return 0;
}

/* Take thread i's answer and call it back. It is called back after a fault too. */
static int call_guest(struct job *job, struct tour *tour, size_t i, struct fault *f)
{
	struct thread *th = &tour->task->threads[i];
	int r = await_answer(tour->task, th, record_of(tour, i), f);

	if (r == 0)
		note_facts(th, record_of(tour, i));
	ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL);
	step(job, "guest called");
	return r;
}

/* It stands still, or soon will: put it back where it was. What it kept in r8: see stub.c. */
static int fetch_guest(struct job *job, struct tour *tour, size_t i, struct fault *f)
{
	struct thread *th = &tour->task->threads[i];
	struct user_regs_struct r;
	int status;

	if (stop_wait_event(th->tid, SEAT_TIMEOUT_MS, &status) <= 0)
		return fault(f, -ESRCH, "task %d, thread %d died or does not stop", tour->task->pid,
			     th->tid);
	step(job, "guest stopped");
	if (ptrace(PTRACE_GETREGS, th->tid, NULL, &r) < 0)
		return fault(f, errno, "read the registers of thread %d", th->tid);
	thread_frozen(th)->facts.securebits = (uint32_t)r.r8 & ~STUB_SLACK_UNUSUAL;
	thread_frozen(th)->facts.slack_unusual = r.r8 & STUB_SLACK_UNUSUAL;
	if (seat_home(job, th, f) < 0)
		return -1;
	return tour->told ? tour->told(tour->ctx, tour->task, th, f) : 0;
}

/* ---- all tasks ---- */

static int begin_tour(struct tour *tour, struct task *t, struct fault *f)
{
	struct gate_mailbox *m = gate_mailbox(t->gate, 0);
	struct stub_region region = t->seat->region;

	/* With the waiters' bit the kernel wakes somebody; the agent sets it too. */
	region.death_value = __atomic_or_fetch(&m->death, GATE_WAITERS_BIT, __ATOMIC_SEQ_CST);
	if (stub_write_guest(t->pid, t->seat->mem, &t->seat->room, &region, &t->seat->lay, f) < 0)
		return -1;
	tour->task = t;
	tour->home = tour->called = tour->sent = 1;
	tour->nslots = (t->seat->room.end - t->seat->lay.free) / SLOT_SIZE;
	if (tour->nslots > SLOTS_MAX)
		tour->nslots = SLOTS_MAX;
	if (!tour->nslots)
		return fault(f, -ENOSPC, "task %d has too little unused room for its threads' way "
			     "home", t->pid);
	return 0;
}

/* Send one thread, call one back, fetch one. Returns 1 while there is more to do. */
static int advance(struct job *job, struct tour *tour, struct fault *f)
{
	size_t n = tour->task->nthreads;
	bool all_sent = tour->sent == n;

	if ((tour->sent - tour->home == tour->nslots || (all_sent && tour->called == n)) &&
	    tour->home < tour->called && fetch_guest(job, tour, tour->home++, f) < 0)
		return -1;
	if (!all_sent && tour->sent - tour->home < tour->nslots &&
	    send_guest(job, tour, tour->sent++, f) < 0)
		return -1;
	if (tour->called < tour->sent &&
	    (all_sent || tour->sent - tour->called > tour->nslots / 2) &&
	    call_guest(job, tour, tour->called++, f) < 0)
		return -1;
	return tour->home < n;
}

static int run_tours(struct job *job, struct tour *tours, size_t n, struct fault *f)
{
	bool more = true;
	size_t i;
	int r;

	while (more) {
		more = false;
		for (i = 0; i < n; i++) {
			r = tours[i].home < tours[i].task->nthreads ? advance(job, &tours[i], f) :
								      0;
			if (r < 0)
				return -1;
			more = more || r > 0;
		}
	}
	return 0;
}

/* After a fault: nobody may stay away. */
static void end_tour(struct job *job, struct tour *tour)
{
	struct fault ignored;
	struct thread *th;
	size_t i;

	for (i = 1; i < tour->sent; i++) {
		th = &tour->task->threads[i];
		ignored = (struct fault){ 0 };
		if (thread_frozen(th)->away && seat_stop(tour->task, th->tid, true, &ignored) == 0)
			seat_home(job, th, &ignored);
	}
}

static int ask_guests(struct job *job, struct tour *tours, told_thread *told, void *ctx,
		      struct fault *f)
{
	size_t i, n = 0;

	for (i = 0; i < job->ntasks; i++) {
		if (!job->tasks[i]->gate || job->tasks[i]->nthreads < 2)
			continue;
		tours[n].told = told;
		tours[n].ctx = ctx;
		if (begin_tour(&tours[n++], job->tasks[i], f) < 0)
			return -1;
	}
	if (run_tours(job, tours, n, f) == 0)
		return 0;
	for (i = 0; i < n; i++)
		end_tour(job, &tours[i]);
	return -1;
}

int inject_thread_facts(struct job *job, told_thread *told, void *ctx, struct fault *f)
{
	AUTO_FREE struct tour *tours = xcalloc(job->ntasks, sizeof(*tours));
	int r;

	if (ask_leaders(job, f) < 0)
		return -1;
	/* Thousands of guests stop and go: no signal handler for each. */
	freeze_unwatch();
	r = ask_guests(job, tours, told, ctx, f);
	inject_watch(job);
	return r;
}
