/* SPDX-License-Identifier: MIT */
/*
 * inject.c - the agent into a frozen task, and out of it.
 *
 * Dump:     INJECT: stub into unused code, one remote mmap, blob in, agent on the leader.
 *           RELEASE: region unmapped, registers and mask as they were.
 * Rights:   the tracer's; CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE for /proc/PID/map_files.
 * Holds:    per task a seat: the task's memory, the region's mapping, a gate.
 * Relies on every thread of the tree being stopped under ptrace by this thread. Our death at any
 * moment sends every thread home: see stub.c.
 */
#include "coordinator/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "coordinator/filter.h"
#include "coordinator/seat.h"
#include "coordinator/stops.h"
#include "proto/control/util.h"
#include "workers/common/log.h"
#include "workers/common/procfs.h"

#define SECCOMP_LINE "Seccomp:"	/* of /proc/PID/status */
#define FEATURES_LINE "x86_Thread_features:"
#define ARENA_SIZE (1ul << 20)
#define LOWEST 0x10000ul		/* vm.mmap_min_addr */
#define HIGHEST 0x7ffffffff000ul	/* the end of user space with four-level page tables */
#define HOME_TRIES 2000			/* of 1 ms, for a thread that an earlier stasis left away */
/* Single step, direction, alignment check, nested task: not for the agent. */
#define FLAGS_OFF 0x44500ul

/* ---- where to sit ---- */

struct places {
	uint64_t vdso, vdso_end;
	uint64_t gap, gap_size;		/* the largest */
};

/*
 * The agent goes into the middle of the largest gap: far from where heap, stack or
 * mappings could grow.
 */
static int find_places(pid_t pid, struct places *p, struct fault *f)
{
	AUTO_FREE char *maps = procfs_read(pid, 0, "maps", NULL, f);
	uint64_t start, end, last = LOWEST;
	char *line, *save = NULL;

	memset(p, 0, sizeof(*p));
	if (!maps)
		return -1;
	for (line = strtok_r(maps, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2)
			return fault(f, -EPROTO, "/proc/%d/maps: line not understood: %.80s", pid,
				     line);
		if (strstr(line, " [vdso]")) {
			p->vdso = start;
			p->vdso_end = end;
		}
		if (start > HIGHEST)
			start = HIGHEST;
		if (start > last && start - last > p->gap_size) {
			p->gap = last;
			p->gap_size = start - last;
		}
		if (end > last)
			last = end;
	}
	return 0;
}

static int choose_region(struct task *t, const struct places *p, struct fault *f)
{
	struct stub_region *r = &t->seat->region;

	r->size = gate_region_size(1, ARENA_SIZE) + GATE_PAGE;
	if (p->gap_size < 2 * r->size)
		return fault(f, -ENOMEM, "task %d has no gap of %" PRIu64 " bytes in its address "
			     "space for the agent", t->pid, 2 * r->size);
	r->base = (p->gap + (p->gap_size - r->size) / 2) & ~(GATE_PAGE - 1);
	r->death = r->base + GATE_BLOB_SIZE + offsetof(struct gate_mailbox, death);
	return 0;
}

static bool is_away(const struct seat *s, const struct thread *th)
{
	uint64_t rip = thread_frozen(th)->regs.rip;

	return rip - s->room.start < s->room.end - s->room.start ||
	       rip - s->room.old_region < s->room.old_size;
}

/*
 * A stasis was killed a moment ago and this thread is still in its code, where a task that was
 * stopped stays: let it run home, from system call to system call, so that a stopped program gets
 * no further than to its own next one. A stop that comes first is one more interrupt's: no
 * progress.
 */
static int await_home(struct task *t, struct thread *th, struct fault *f)
{
	int i, r, status;

	for (i = 0; i < HOME_TRIES && is_away(t->seat, th); i++) {
		ptrace(PTRACE_SYSCALL, th->tid, NULL, 0);
		r = freeze_wait_stop(th->tid, 1, &status);
		if (r < 0)
			return fault(f, -ESRCH, "task %d, thread %d died", t->pid, th->tid);
		ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL);
		if (r == 1)
			ptrace(PTRACE_CONT, th->tid, NULL, 0);
		if (stop_wait_event(th->tid, SEAT_TIMEOUT_MS, &status) <= 0)
			return fault(f, -ESRCH, "task %d, thread %d died", t->pid, th->tid);
		if (freeze_take(t, th, status, f) < 0)
			return -1;
	}
	if (is_away(t->seat, th))
		return fault(f, -EBUSY, "task %d, thread %d still runs the code of an earlier "
			     "stasis that was killed; try again", t->pid, th->tid);
	return 0;
}

/*
 * Protections of the task that the agent meets. Shadow stacks: the agent's calls would be left
 * on it when it goes home by jumping.
 */
static int check_protections(struct task *t, struct fault *f)
{
	AUTO_FREE char *status = procfs_read(t->pid, 0, "status", NULL, f);
	char *line, *save = NULL;

	if (!status)
		return -1;
	for (line = strtok_r(status, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, SECCOMP_LINE, strlen(SECCOMP_LINE)))
			filter_check(t, atoi(line + strlen(SECCOMP_LINE)), t->seat->room.start);
		if (strncmp(line, FEATURES_LINE, strlen(FEATURES_LINE)) || !strstr(line, "shstk"))
			continue;
		return fault(f, -ENOTSUP, "task %d runs with a shadow stack, which cannot be "
			     "dumped; start it without (GLIBC_TUNABLES=glibc.cpu.x86_shstk=off)",
			     t->pid);
	}
	return 0;
}

/* Nothing of the task is changed here. */
static int open_seat(struct task *t, struct fault *f)
{
	struct seat *s = xcalloc(1, sizeof(*s));
	struct places p;
	char path[32];
	size_t i;

	t->seat = s;
	s->region_fd = -1;
	snprintf(path, sizeof(path), "/proc/%d/mem", t->pid);
	s->mem = open(path, O_RDWR | O_CLOEXEC);
	if (s->mem < 0)
		return fault(f, errno, "open %s", path);
	if (find_places(t->pid, &p, f) < 0 ||
	    room_find(t->pid, s->mem, p.vdso, p.vdso_end, &s->room, f) < 0 ||
	    check_protections(t, f) < 0)
		return -1;
	for (i = 0; i < t->nthreads; i++)
		if (await_home(t, &t->threads[i], f) < 0)
			return -1;
	/* Only now: the earlier agent's region may have been in the way. */
	if (s->room.old_region && find_places(t->pid, &p, f) < 0)
		return -1;
	return choose_region(t, &p, f);
}

/* ---- in ---- */

/* At least until it stands on its stub, the leader is untouched. */
static int write_stub(struct job *job, struct task *t, struct fault *f)
{
	const struct frozen *z = thread_frozen(&t->threads[0]);
	const struct stub_home home = { &z->regs, z->sigmask };
	struct seat *s = t->seat;

	if (stub_write(t->pid, s->mem, &s->room, &s->region, &home, &s->lay, f) < 0)
		return -1;
	step(job, "stub");
	return 0;
}

/* The leader's registers for a system call at the stub's address `at`. */
static struct user_regs_struct call_regs(const struct task *t, uint64_t at, const uint64_t a[7])
{
	struct user_regs_struct r = thread_frozen(&t->threads[0])->regs;

	r.rip = at;
	r.orig_rax = -1;
	r.rax = a[0];
	r.rdi = a[1];
	r.rsi = a[2];
	r.rdx = a[3];
	r.r10 = a[4];
	r.r8 = a[5];
	r.r9 = a[6];
	return r;
}

static struct user_regs_struct map_regs(const struct task *t, int prot)
{
	const struct seat *s = t->seat;
	const uint64_t a[7] = {
		SYS_mmap, s->region.base, s->region.size, prot,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0,
	};

	return call_regs(t, s->lay.map, a);
}

/* To the next system call stop: the first half of a call, or the second. */
static void go_on(struct job *job, struct task *t)
{
	ptrace(PTRACE_SYSCALL, t->pid, NULL, 0);
	t->seat->running = true;
	step(job, "resume");
}

static int syscall_stop(struct task *t, struct fault *f)
{
	int r = stop_wait_syscall(t->pid, SEAT_TIMEOUT_MS);

	if (r < 0)
		return seat_died(t, t->pid, f);
	if (r == 0)
		return fault(f, -ETIMEDOUT, "task %d does not run its agent's system call", t->pid);
	t->seat->running = false;
	return 0;
}

static int start_map(struct job *job, struct task *t, struct fault *f)
{
	const struct user_regs_struct r = map_regs(t, PROT_READ | PROT_WRITE | PROT_EXEC);

	if (seat_away(job, &t->threads[0], &r, f) < 0)
		return -1;
	t->seat->away = true;
	go_on(job, t);
	return 0;
}

static int enter_call(struct job *job, struct task *t, struct fault *f)
{
	if (syscall_stop(t, f) < 0)
		return -1;
	go_on(job, t);
	return 0;
}

/* Run one call to its end; the thread stands at a system call's exit before and after. */
static int run_call(struct job *job, struct task *t, const struct user_regs_struct *call,
		    int64_t *ret, struct fault *f)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_SETREGS, t->pid, NULL, call) < 0)
		return fault(f, errno, "set the registers of task %d", t->pid);
	step(job, "call");
	go_on(job, t);
	if (enter_call(job, t, f) < 0 || syscall_stop(t, f) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &r) < 0)
		return fault(f, errno, "read the registers of task %d", t->pid);
	*ret = r.rax;
	return 0;
}

static int map_failed(struct task *t, int64_t ret, struct fault *f)
{
	if (ret == -ENOMEM || ret == -EAGAIN)
		return fault(f, -ret, "task %d cannot map %" PRIu64 " bytes for its agent: it is "
			     "at its limit of address space, locked memory or mappings (RLIMIT_AS, "
			     "RLIMIT_MEMLOCK, vm.max_map_count)", t->pid, t->seat->region.size);
	return fault(f, -ret, "task %d cannot map its agent", t->pid);
}

/*
 * The result of the mmap. Refused memory that is writable and executable (MDWE, policies): map it
 * read-execute, and take the execution from all but the blob later; that way is never refused.
 */
static int mapped(struct job *job, struct task *t, struct fault *f)
{
	struct user_regs_struct r;
	struct seat *s = t->seat;
	int64_t ret;

	if (syscall_stop(t, f) < 0)
		return -1;
	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &r) < 0)
		return fault(f, errno, "read the registers of task %d", t->pid);
	ret = r.rax;
	if (ret == -EACCES || ret == -EPERM) {
		s->protect = true;
		r = map_regs(t, PROT_READ | PROT_EXEC);
		if (run_call(job, t, &r, &ret, f) < 0)
			return -1;
	}
	if (ret != (int64_t)s->region.base)
		return map_failed(t, ret, f);
	step(job, "mapped");
	return 0;
}

static int open_region(struct task *t, struct fault *f)
{
	struct seat *s = t->seat;
	char path[96];
	void *records;
	const struct gate_place place = {
		.pid = t->pid,
		.base = s->region.base,
		.size = s->region.size - GATE_PAGE,
		.nmailboxes = 1,
	};

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, t->pid,
		 s->region.base, s->region.base + s->region.size);
	s->region_fd = open(path, O_RDWR | O_CLOEXEC);
	if (s->region_fd < 0)
		return fault(f, errno, "open %s (needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN)",
			     path);
	t->gate = gate_open(s->region_fd, &place, true, GATE_MODE_DUMP, f);
	if (!t->gate)
		return -1;
	records = mmap(NULL, GATE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s->region_fd,
		       place.size);
	close(take_fd(&s->region_fd));
	if (records == MAP_FAILED)
		return fault(f, errno, "map the records of task %d", t->pid);
	s->records = records;
	return 0;
}

static int protect_region(struct job *job, struct task *t, struct fault *f)
{
	struct seat *s = t->seat;
	const uint64_t a[7] = {
		SYS_mprotect, s->region.base + GATE_BLOB_SIZE, s->region.size - GATE_BLOB_SIZE,
		PROT_READ | PROT_WRITE,
	};
	const struct user_regs_struct r = call_regs(t, s->lay.protect, a);
	int64_t ret;

	if (!s->protect)
		return 0;
	if (run_call(job, t, &r, &ret, f) < 0)
		return -1;
	if (ret)
		return fault(f, -ret, "task %d cannot make its agent's memory writable", t->pid);
	return 0;
}

/* How the agent leaves by itself. */
static void fill_mailbox(struct task *t)
{
	const struct user_regs_struct *r = &thread_frozen(&t->threads[0])->regs;
	struct gate_mailbox *m = gate_mailbox(t->gate, 0);
	struct seat *s = t->seat;

	m->stub = s->lay.leave;
	m->region = s->region.base;
	m->region_size = s->region.size;
	m->rbx = r->rbx;
	m->rbp = r->rbp;
	m->rsp = r->rsp;
	m->r12 = r->r12;
	m->r13 = r->r13;
	m->r14 = r->r14;
	m->r15 = r->r15;
	m->rflags = r->eflags;
}

static int start_agent(struct job *job, struct task *t, struct fault *f)
{
	struct user_regs_struct r = thread_frozen(&t->threads[0])->regs;
	struct seat *s = t->seat;

	if (open_region(t, f) < 0 || protect_region(job, t, f) < 0)
		return -1;
	fill_mailbox(t);
	if (gate_guard(t->gate, f) < 0)
		return -1;
	step(job, "guarded");
	r.rip = gate_entry(t->gate);
	r.rbx = gate_mailbox_address(t->gate, 0);
	r.eflags &= ~FLAGS_OFF;
	r.orig_rax = -1;
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &r) < 0)
		return fault(f, errno, "set the registers of task %d", t->pid);
	step(job, "to the agent");
	ptrace(PTRACE_CONT, t->pid, NULL, 0);
	s->running = true;
	step(job, "agent runs");
	return 0;
}

/* ---- all tasks ---- */

typedef int seat_step(struct job *job, struct task *t, struct fault *f);

static bool wants_agent(const struct task *t)
{
	return t->state != TASK_ZOMBIE && !t->vm_shared;
}

static int for_seats(struct job *job, seat_step *fn, struct fault *f)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->seat && fn(job, job->tasks[i], f) < 0)
			return -1;
	return 0;
}

static int open_seats(struct job *job, struct fault *f)
{
	size_t i;

	for (i = 0; i < job->ntasks; i++)
		if (wants_agent(job->tasks[i]) && open_seat(job->tasks[i], f) < 0)
			return -1;
	return 0;
}

void inject_watch(struct job *job)
{
	AUTO_FREE pid_t *leaders = xcalloc(job->ntasks, sizeof(*leaders));
	size_t i, n = 0;

	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->seat)
			leaders[n++] = job->tasks[i]->pid;
	freeze_watch(leaders, n);
}

static int agent_ready(struct job *job, struct task *t, struct fault *f)
{
	(void)job;
	return gate_wait_ready(t->gate, 0, SEAT_TIMEOUT_MS, f);
}

int inject_all(struct job *job, struct fault *f)
{
	if (open_seats(job, f) < 0 || for_seats(job, write_stub, f) < 0 ||
	    for_seats(job, start_map, f) < 0 || for_seats(job, enter_call, f) < 0 ||
	    for_seats(job, mapped, f) < 0 || for_seats(job, start_agent, f) < 0) {
		eject_all(job);
		return -1;
	}
	inject_watch(job);
	if (for_seats(job, agent_ready, f) < 0) {
		eject_all(job);
		return -1;
	}
	return 0;
}

/* ---- out ---- */

static int stop_leader(struct job *job, struct task *t, struct fault *f)
{
	struct seat *s = t->seat;

	if (!s->away)
		return 0;
	if (seat_stop(t, t->pid, s->running, f) < 0)
		return -1;
	s->running = false;
	step(job, "leader stopped");
	return 0;
}

/* Harmless when nothing is mapped yet. */
static int start_unmap(struct job *job, struct task *t, struct fault *f)
{
	const uint64_t a[7] = { SYS_munmap, t->seat->region.base, t->seat->region.size };
	const struct user_regs_struct r = call_regs(t, t->seat->lay.unmap, a);

	if (!t->seat->away)
		return 0;
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &r) < 0)
		return fault(f, errno, "set the registers of task %d", t->pid);
	step(job, "to the stub");
	go_on(job, t);
	return 0;
}

static int enter_unmap(struct job *job, struct task *t, struct fault *f)
{
	return t->seat->away ? enter_call(job, t, f) : 0;
}

/*
 * From the munmap's exit to a stop where the kernel looks at signals: only there it decides about
 * the restart of the system call that the freeze interrupted.
 */
static int finish_unmap(struct job *job, struct task *t, struct fault *f)
{
	if (!t->seat->away)
		return 0;
	if (syscall_stop(t, f) < 0 || seat_stop(t, t->pid, false, f) < 0)
		return -1;
	step(job, "unmapped");
	if (seat_home(job, &t->threads[0], f) < 0)
		return -1;
	t->seat->away = false;
	return 0;
}

static void close_seat(struct job *job, struct task *t)
{
	struct seat *s = t->seat;

	/* A leader that could not be brought home finds its way by the stub. */
	if (!s->away && s->lay.map)
		stub_erase(s->mem, &s->room);
	step(job, "stub erased");
	gate_unguard(t->gate);
	gate_close(t->gate);
	t->gate = NULL;
	if (s->records)
		munmap(s->records, GATE_PAGE);
	auto_close(&s->region_fd);
	auto_close(&s->mem);
	free(s);
	t->seat = NULL;
}

/* One task that died or does not answer must not keep the others. */
static void each_seat(struct job *job, seat_step *fn)
{
	struct fault f;
	struct task *t;
	size_t i;

	for (i = 0; i < job->ntasks; i++) {
		t = job->tasks[i];
		f = (struct fault){ 0 };
		if (!t->seat || t->seat->lost || fn(job, t, &f) == 0)
			continue;
		log_warnx("take the agent out of task %d: %s", t->pid, f.text);
		t->seat->lost = true;
	}
}

void eject_all(struct job *job)
{
	size_t i;

	freeze_unwatch();
	each_seat(job, stop_leader);
	each_seat(job, start_unmap);
	each_seat(job, enter_unmap);
	each_seat(job, finish_unmap);
	for (i = 0; i < job->ntasks; i++)
		if (job->tasks[i]->seat)
			close_seat(job, job->tasks[i]);
}
