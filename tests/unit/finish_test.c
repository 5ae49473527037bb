/* SPDX-License-Identifier: MIT */
/*
 * finish_test.c - registers and interrupted calls survive being saved, lost and loaded again.
 *
 * A program with threads in all kinds of system calls is stopped and its registers are saved; then
 * every thread is sent into the agent, as in a restore, its kernel state of the call is spoilt, and
 * finish.c makes it go on. The program judges itself.
 *
 * Rights:   ptrace of the test's own child.
 */
#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/finish.h"
#include "coordinator/freeze.h"
#include "coordinator/registers.h"
#include "coordinator/restart.h"
#include "coordinator/sleepers.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"
#include "tests/unit/check.h"

#define BASE 0x200000000000ul
#define SLEEP_MS 600
#define BEFORE_MS 200		/* of it before the freeze */
#define AWAY_MS 500		/* how long the thread is not itself */

enum part { LEADER, NANOSLEEP, CLOCK_NANOSLEEP, GLIBC_SLEEP, POLL, FUTEX, SHORT, READ, EPOLL,
	    VECTORS, PARTS, MANY = 1000 };

struct seen {
	pid_t tid;
	bool over;
	int64_t ret, err;
	double at_ms;
	uint64_t rounds, wrong, mask;
};

struct shared {
	struct seen of[MANY + 1];
	size_t nthreads;
	uint32_t word;
	int pipe[2];
};

static struct shared *shared;
static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Values in registers of every kind, compared again and again. */
static void vectors(struct seen *s)
{
	static const uint8_t pattern[32] __attribute__((aligned(32))) =
		"thirty-one characters, a zero..";
	uint32_t equal;

	for (;;) {
		__asm__ volatile("vmovdqa %[p], %%ymm14\n\t"
				 "mov $100000, %%ecx\n\t"
				 "1: vpcmpeqb %[p], %%ymm14, %%ymm13\n\t"
				 "vpmovmskb %%ymm13, %[e]\n\t"
				 "cmp $-1, %[e]\n\t"
				 "jne 2f\n\t"
				 "dec %%ecx\n\t"
				 "jnz 1b\n"
				 "2:"
				 : [e] "=&r"(equal)
				 : [p] "m"(pattern)
				 : "ecx", "xmm13", "xmm14", "memory", "cc");
		s->wrong += equal != UINT32_MAX;
		s->rounds++;
	}
}

static noreturn void *act(void *arg)
{
	size_t me = (size_t)arg;
	struct seen *s = &shared->of[me];
	struct timespec t = { 0, SLEEP_MS * 1000000 }, left;
	char byte;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &(uint64_t){ me << 20 }, NULL, 8);
	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	errno = 0;
	switch (me) {
	case NANOSLEEP:
		s->ret = syscall(SYS_nanosleep, &t, &left);
		break;
	case CLOCK_NANOSLEEP:
		s->ret = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
		break;
	case GLIBC_SLEEP:
		s->ret = nanosleep(&t, &t);
		break;
	case POLL:
		s->ret = syscall(SYS_poll, NULL, 0, SLEEP_MS);
		break;
	case FUTEX:
		s->ret = syscall(SYS_futex, &shared->word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
		break;
	case SHORT:
		t.tv_nsec = (BEFORE_MS + 20) * 1000000;
		s->ret = syscall(SYS_nanosleep, &t, &left);
		break;
	case READ:
		s->ret = read(shared->pipe[0], &byte, 1);
		break;
	case EPOLL:
		s->ret = epoll_wait(epoll_create1(0), &(struct epoll_event){ 0 }, 1, SLEEP_MS);
		break;
	case VECTORS:
		vectors(s);
		break;
	default:
		for (;;)
			pause();
	}
	s->err = errno;
	s->at_ms = now_ms();
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &s->mask, 8);
	__atomic_store_n(&s->over, true, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

static noreturn void program(int memory, uint64_t size)
{
	pthread_attr_t small;
	pthread_t p;
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mmap((void *)BASE, size, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_SHARED | MAP_FIXED_NOREPLACE, memory, 0) == MAP_FAILED)
		_exit(9);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (i = 1; i < shared->nthreads; i++)
		if (pthread_create(&p, &small, act, (void *)i))
			_exit(8);
	act((void *)LEADER);
	_exit(7);
}

static CoreEntry *new_core(bool leader)
{
	CoreEntry *c = xcalloc(1, sizeof(*c));

	core_entry__init(c);
	c->thread_info = xcalloc(1, sizeof(*c->thread_info));
	thread_info_x86__init(c->thread_info);
	c->thread_core = xcalloc(1, sizeof(*c->thread_core));
	thread_core_entry__init(c->thread_core);
	if (leader) {
		c->tc = xcalloc(1, sizeof(*c->tc));
		task_core_entry__init(c->tc);
		c->tc->comm = xstrdup("test");
	}
	return c;
}

/* Save a stopped thread, then make it the agent's, with nothing of its own left. */
static void take_away(struct gate *g, size_t k, struct thread *th, struct fault *f)
{
	const struct frozen *z = thread_frozen(th);
	struct user_regs_struct regs = { 0 };
	char area[32768] = { 0 };
	struct iovec v = { area, sizeof(area) };
	uint64_t all = ~0ull;

	th->core = new_core(!k);
	CHECK(!registers_save(th->tid, &z->regs, th->core->thread_info, f));
	restart_note_left(th->core->thread_info, z->sleep_left_ns);
	CHECK(!registers_check(th->core->thread_info, "core", f));
	if (!k)
		th->core->tc->blk_sigset = z->sigmask;
	th->core->thread_core->has_blk_sigset = true;
	th->core->thread_core->blk_sigset = z->sigmask;

	ptrace(PTRACE_GETREGSET, th->tid, NT_X86_XSTATE, &v);
	memset(area + 512, 0, 8);
	CHECK(!ptrace(PTRACE_SETREGSET, th->tid, NT_X86_XSTATE, &v));
	regs = z->regs;
	memset(&regs, 0, offsetof(struct user_regs_struct, orig_rax));
	regs.orig_rax = -1;
	regs.rip = gate_entry(g);
	regs.rbx = gate_mailbox_address(g, k);
	CHECK(!ptrace(PTRACE_SETREGS, th->tid, NULL, &regs));
	CHECK(!ptrace(PTRACE_SETSIGMASK, th->tid, sizeof(all), &all));
}

struct subject {
	struct job job;
	struct task task, *tasks[1];
	Options opts;
	struct fault f;
	int memory;
};

static void start(struct subject *s, size_t nthreads)
{
	struct gate_place place = { .base = BASE, .nmailboxes = nthreads };
	size_t i;

	memset(s, 0, sizeof(*s));
	options__init(&s->opts);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	shared->nthreads = nthreads;
	CHECK(!pipe(shared->pipe));
	place.size = gate_region_size(nthreads, nthreads * 256 + 65536);
	s->memory = memfd_create("gate", MFD_CLOEXEC);
	CHECK(!ftruncate(s->memory, place.size));
	place.pid = s->task.pid = fork();
	if (!place.pid)
		program(s->memory, place.size);
	s->task.gate = gate_open(s->memory, &place, true, GATE_MODE_RESTORE, &s->f);
	s->task.nthreads = nthreads;
	s->task.threads = xcalloc(nthreads, sizeof(*s->task.threads));
	for (i = 0; i < nthreads; i++)
		while (!(s->task.threads[i].tid = __atomic_load_n(&shared->of[i].tid,
								  __ATOMIC_ACQUIRE)) &&
		       waitpid(place.pid, NULL, WNOHANG) == 0)
			usleep(1000);
	s->tasks[0] = &s->task;
	s->job.tasks = s->tasks;
	s->job.ntasks = 1;
	s->job.opts = &s->opts;
	stop_prepare();
}

/* Freeze as a dump does. */
static void freeze_all(struct subject *s)
{
	struct thread *th = s->task.threads;
	int status = 0;
	double t;
	size_t i;

	for (i = 0; i < s->task.nthreads; i++)
		CHECK(!ptrace(PTRACE_SEIZE, th[i].tid, NULL, PTRACE_O_TRACESYSGOOD) &&
		      !ptrace(PTRACE_INTERRUPT, th[i].tid, NULL, NULL));
	for (i = 0; i < s->task.nthreads; i++) {
		CHECK(stop_wait_event(th[i].tid, 5000, &status) == 1);
		CHECK(!freeze_take(&s->task, &th[i], status, &s->f));
	}
	t = now_ms();
	CHECK(!sleepers_measure(&s->job, &s->f));
	printf("# sleepers measured in %.2f ms\n", now_ms() - t);
}

static void detach_all(struct subject *s)
{
	size_t i;

	for (i = 0; i < s->task.nthreads; i++)
		CHECK(!ptrace(PTRACE_DETACH, s->task.threads[i].tid, NULL, 0));
}

static void all_away(struct subject *s)
{
	size_t i;

	freeze_all(s);
	for (i = 0; i < s->task.nthreads; i++)
		take_away(s->task.gate, i, &s->task.threads[i], &s->f);
	detach_all(s);
	for (i = 0; i < s->task.nthreads; i++)
		CHECK(!gate_wait_ready(s->task.gate, i, 5000, &s->f));
}

/* Sleep a little in each thread, so that the kernel forgets the program's own sleep. */
static void spoil(struct subject *s)
{
	AUTO_BATCH struct batch *b = batch_begin(s->task.gate);
	uint64_t at = batch_put(b, &(struct timespec){ 0, 1000 }, sizeof(struct timespec));
	size_t i;

	for (i = 0; i < s->task.nthreads; i++)
		batch_op(b, i, 0, SYS_nanosleep, 2, ga(at), gc(0));
	CHECK(!batch_run(b, 5000, &s->f));
}

static void finish(struct subject *s)
{
	double t = now_ms(), t1, t2;

	CHECK(!finish_seize(&s->job, &s->f));
	t1 = now_ms();
	CHECK(!finish_registers(&s->job, &s->f));
	t2 = now_ms();
	CHECK(!finish_release(&s->job, &s->f));
	printf("# %zu threads: seize %.2f, registers %.2f, release %.2f ms\n", s->task.nthreads,
	       t1 - t, t2 - t1, now_ms() - t2);
}

static void stop(struct subject *s)
{
	size_t i;

	if (s->f.code)
		fprintf(stderr, "fault: %s\n", s->f.text);
	kill(s->task.pid, SIGKILL);
	/* Threads that are still traced by us come first. */
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	gate_close(s->task.gate);
	for (i = 0; i < s->task.nthreads; i++) {
		if (s->task.threads[i].core) {
			core_entry__free_unpacked(s->task.threads[i].core, NULL);
			free(s->task.threads[i].regs);
		}
	}
	free(s->task.threads);
	close(s->memory);
	close(shared->pipe[0]);
	close(shared->pipe[1]);
	munmap(shared, sizeof(*shared));
}

static void wait_over(size_t part)
{
	double end = now_ms() + 3000;

	while (!__atomic_load_n(&shared->of[part].over, __ATOMIC_ACQUIRE) && now_ms() < end)
		usleep(1000);
	CHECK(shared->of[part].over);
}

static char state_of(pid_t pid)
{
	char path[32], text[256] = "", *p;
	AUTO_FCLOSE FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f || !fgets(text, sizeof(text), f) || !(p = strrchr(text, ')')))
		return '?';
	return p[2];
}

static void calls_go_on(void)
{
	static const struct {
		size_t part;
		int64_t ret, err;
		double ms;		/* all of it */
		bool again;		/* the kernel has forgotten the rest */
	} want[] = {
		{ NANOSLEEP, 0, 0, SLEEP_MS, false },
		{ GLIBC_SLEEP, 0, 0, SLEEP_MS, false },
		{ CLOCK_NANOSLEEP, 0, 0, SLEEP_MS, false },
		{ POLL, 0, 0, SLEEP_MS, false },
		{ FUTEX, -1, ETIMEDOUT, SLEEP_MS, false },
		{ SHORT, 0, 0, BEFORE_MS + 20, false },
		{ EPOLL, 0, 0, SLEEP_MS, true },
	};
	struct subject s;
	struct seen *seen = shared ? shared->of : NULL;
	double released, least, most;	/* how much of it can be over before the freeze */
	uint64_t rounds;
	size_t i;

	most = now_ms();
	start(&s, PARTS);
	least = now_ms();
	seen = shared->of;
	usleep(BEFORE_MS * 1000);
	least = now_ms() - least;
	all_away(&s);
	most = now_ms() - most;
	usleep(AWAY_MS * 1000);
	spoil(&s);
	for (i = 0; i < ARRAY_LEN(want); i++)
		CHECK(!seen[want[i].part].over);
	rounds = seen[VECTORS].rounds;
	released = now_ms();
	finish(&s);
	for (i = 0; i < ARRAY_LEN(want); i++) {
		struct seen *w = &seen[want[i].part];

		wait_over(want[i].part);
		printf("# part %zu: ret %ld errno %ld after %.0f ms\n", want[i].part, (long)w->ret,
		       (long)w->err, w->at_ms - released);
		CHECK(w->ret == want[i].ret && w->err == want[i].err);
		CHECK(w->at_ms - released > want[i].ms - (want[i].again ? 0 : most) - 30);
		CHECK(w->at_ms - released < want[i].ms - (want[i].again ? 0 : least) + 200);
		CHECK(w->mask == want[i].part << 20);
	}
	CHECK(!seen[READ].over && write(shared->pipe[1], "x", 1) == 1);
	wait_over(READ);
	CHECK(seen[READ].ret == 1);
	CHECK(seen[VECTORS].rounds > rounds && !seen[VECTORS].wrong);
	CHECK(!seen[LEADER].over && state_of(s.task.pid) == 'S');
	stop(&s);
}

static void stopped_stays_stopped(void)
{
	struct subject s;

	start(&s, PARTS);
	all_away(&s);
	s.task.state = TASK_STOPPED;
	finish(&s);
	usleep(50000);
	CHECK(state_of(s.task.pid) == 'T');
	CHECK(!shared->of[VECTORS].wrong);
	kill(s.task.pid, SIGCONT);
	wait_over(GLIBC_SLEEP);
	CHECK(shared->of[GLIBC_SLEEP].ret == 0);
	stop(&s);
}

/* The tasks end with the coordinator until finish_release. */
static void a_killed_tracer_ends_the_task(void)
{
	struct subject s;
	pid_t tracer;
	int report[2];
	char byte;

	CHECK(!pipe(report));
	start(&s, PARTS);
	all_away(&s);
	tracer = fork();
	if (!tracer) {
		byte = finish_seize(&s.job, &s.f) || finish_registers(&s.job, &s.f);
		if (write(report[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	CHECK(read(report[0], &byte, 1) == 1 && !byte);
	CHECK(state_of(s.task.pid) == 't');
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	usleep(50000);
	CHECK(state_of(s.task.pid) == 'Z');
	close(report[0]);
	close(report[1]);
	stop(&s);
}

/* After a first freeze the kernel has replaced the calls by restart_syscall. */
static void a_second_freeze(void)
{
	static const size_t parts[] = { GLIBC_SLEEP, FUTEX };
	struct subject s;
	double released;
	size_t i;

	start(&s, PARTS);
	usleep(BEFORE_MS * 500);
	freeze_all(&s);
	detach_all(&s);
	usleep(BEFORE_MS * 500);
	all_away(&s);
	usleep(AWAY_MS * 1000);
	spoil(&s);
	released = now_ms();
	finish(&s);
	for (i = 0; i < ARRAY_LEN(parts); i++) {
		struct seen *w = &shared->of[parts[i]];

		wait_over(parts[i]);
		CHECK(w->ret == (parts[i] == FUTEX ? -1 : 0) && w->err != EINTR);
		CHECK(w->at_ms - released > 300 && w->at_ms - released < 600);
	}
	stop(&s);
}

static void many_threads(void)
{
	struct subject s;

	start(&s, MANY);
	all_away(&s);
	spoil(&s);
	finish(&s);
	wait_over(GLIBC_SLEEP);
	CHECK(shared->of[GLIBC_SLEEP].ret == 0);
	stop(&s);
}

int main(void)
{
	check_run("registers, masks and interrupted calls go on", calls_go_on);
	check_run("calls go on after a second freeze", a_second_freeze);
	check_run("a stopped task stays stopped", stopped_stays_stopped);
	check_run("a killed tracer ends the task", a_killed_tracer_ends_the_task);
	check_run("a thousand threads", many_threads);
	return check_done();
}
